//! The whole packet path, with tables that live on from input to input.

/// Frames on two ports, with time that passes between them: every frame gets one verdict and none is lost.
pub fn packet_path(data: &[u8]) {
    sheave_pipeline::testing::packet_path(data);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// The seeds of the corpus are the packet path's own: one for each kind of connection.
    #[test]
    fn the_corpus_holds_the_seeds() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus/packet_path");
        for (name, seed) in sheave_pipeline::testing::packet_path_seeds() {
            let path = corpus.join(name);
            if option_env!("REGEN").is_some() {
                std::fs::write(&path, &seed).expect("a corpus that can be written");
            }
            assert_eq!(std::fs::read(&path).expect(name), seed, "{name}: write it anew with REGEN=1");
        }
    }
}

//! The SYN proxy between a client and a real server, who both say anything.

/// Segments from both, with any options: what is sent is well-formed, and no frame is lost.
pub fn syn_proxy(data: &[u8]) {
    sheave_pipeline::testing::syn_proxy(data);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// The seeds of the corpus are the packet path's own: one for each end that a connection may come to.
    #[test]
    fn the_corpus_holds_the_seeds() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus/syn_proxy");
        for (name, seed) in sheave_pipeline::testing::syn_proxy_seeds() {
            let path = corpus.join(name);
            if option_env!("REGEN").is_some() {
                std::fs::write(&path, &seed).expect("a corpus that can be written");
            }
            assert_eq!(std::fs::read(&path).expect(name), seed, "{name}: write it anew with REGEN=1");
        }
    }
}

//! Which cores the workers run on. Pure.

use sheave_proto::config::Cores;

/// One worker for each core returned.
///
/// # Errors
/// When a core is named that is not there.
pub(crate) fn pick(wish: &Cores, available: &[usize], most: usize) -> Result<Vec<usize>, String> {
    let cores: Vec<usize> = match wish {
        Cores::Auto => match available {
            [] => vec![0],
            [only] => vec![*only],
            [_, rest @ ..] => rest.iter().copied().take(most).collect(),
        },
        Cores::List(list) => list.iter().map(|core| usize::from(*core)).collect(),
    };
    if let Some(missing) = cores.iter().find(|core| !available.contains(core) && *wish != Cores::Auto) {
        let list = available.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        return Err(format!("director: cores: core {missing} is not available: use some of {list}"));
    }
    if cores.len() > most {
        return Err(format!("director: cores: {} are more than {most}: name fewer", cores.len()));
    }
    Ok(cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_leaves_the_first_core_to_others() {
        assert_eq!(pick(&Cores::Auto, &[0, 1, 2, 3], 64), Ok(vec![1, 2, 3]));
        assert_eq!(pick(&Cores::Auto, &[4, 6], 64), Ok(vec![6]));
        assert_eq!(pick(&Cores::Auto, &[0], 64), Ok(vec![0]));
        assert_eq!(pick(&Cores::Auto, &(0..100).collect::<Vec<_>>(), 64).map(|c| c.len()), Ok(64));
    }

    #[test]
    fn a_named_core_must_be_there() {
        assert_eq!(pick(&Cores::List(vec![1]), &[0, 1], 64), Ok(vec![1]));
        assert_eq!(
            pick(&Cores::List(vec![1, 9]), &[0, 1], 64),
            Err("director: cores: core 9 is not available: use some of 0, 1".into())
        );
    }
}

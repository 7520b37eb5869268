//! How much is measured, in which order, and whether the machine was fit for it.

use crate::bench::{Bench, Family};
use crate::contender::Contender;
use crate::measure::{Case, Kind};
use crate::parts::Laboratory;
use crate::{Cli, machine};
use sheave_testbeds::{Error, Result};

/// Flows that fit into the caches, and flows that do not.
pub(crate) const FEW: u32 = 1 << 14;
pub(crate) const MANY: u32 = 1 << 20;

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Matrix {
    Quick,
    Default,
    Full,
}

/// Contenders that take turns on one case.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) case: Case,
    pub(crate) who: Vec<Contender>,
    /// How often each has its turn, and how many runs it has each time.
    pub(crate) turns: usize,
    pub(crate) runs: usize,
}

pub(crate) fn run(cli: &Cli) -> Result<()> {
    if let Err(why) = machine::fit()? {
        if !cli.busy_ok {
            return Err(Error::new(format!("machine: too busy to measure: {why}")));
        }
        println!("machine: {why}: what follows is no measurement");
    }
    let _huge_pages = machine::HugePages::new();
    let mut lab = Laboratory::new(cli)?;
    let bench = Bench::new()?;
    for round in rounds(cli) {
        lab.round(&bench, &round)?;
    }
    if cli.matrix != Matrix::Quick {
        lab.rfc2544(&bench)?;
        lab.flood(&bench)?;
        lab.connections(&bench)?;
        lab.changes(&bench)?;
        lab.memory(&bench)?;
    }
    drop(bench);
    lab.finish()
}

fn rounds(cli: &Cli) -> Vec<Round> {
    use Contender::{Bare, Nft, Route, SheaveDr, SheaveNat, SheaveTun, Testpmd};
    use Family::{V4, V6};
    let round = |family, flows, size, who: &[Contender], turns: usize| Round {
        case: Case { family, flows, size, kind: Kind::Datagrams },
        who: who.to_vec(),
        turns: cli.turns.unwrap_or(turns),
        runs: 2,
    };
    let all = [Bare, SheaveNat, SheaveDr, SheaveTun, Testpmd, Route, Nft];
    let few = [Bare, SheaveNat, Nft];
    match cli.matrix {
        Matrix::Quick => vec![round(V4, FEW, "64", &few, 5)],
        Matrix::Default => vec![
            round(V4, FEW, "64", &all, 4),
            round(V4, MANY, "64", &[Bare, SheaveNat, Testpmd, Nft], 4),
            round(V4, FEW, "imix", &few, 2),
            round(V4, FEW, "1518", &few, 2),
            round(V6, FEW, "78", &few, 2),
        ],
        // The shortest IPv6 packet that can carry what the sink looks at has 78 bytes.
        Matrix::Full => [(V4, "64"), (V4, "imix"), (V4, "1518"), (V6, "78"), (V6, "imix"), (V6, "1518")]
            .into_iter()
            .flat_map(|(family, size)| [FEW, MANY].map(|flows| round(family, flows, size, &all, 5)))
            .collect(),
    }
}

//! Rules as ipvsadm saves them, or the ipvsadm commands of a script: what makes services becomes services.

use super::report::{Carried, Import, Note, UNKNOWN, UNKNOWN_6};
use super::tree::Place;
use crate::ipvsadm::{Imported, imported};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Carries out the rules of a text on an empty configuration.
pub(super) fn import(file: &str, text: &str) -> Import {
    let file: Rc<str> = Rc::from(file);
    let place = |line| Place { file: Rc::clone(&file), line };
    let unknown = [UNKNOWN, UNKNOWN_6].map(|listen| listen.parse().expect("it is a listen"));
    let Imported { config, refused, places } = imported(text, unknown);
    let mut import = Import {
        notes: refused.iter().map(|(line, text)| Note::new(&place(*line), text.clone())).collect(),
        ..Import::default()
    };
    let mut lines: BTreeMap<String, usize> = places;
    for service in &config.services {
        let line = lines.remove(&service.name).unwrap_or(1);
        let mut carried = Carried::new(&place(line), service.clone());
        if unknown.iter().any(|unknown| service.listens == [*unknown]) {
            let why = "packets have no firewall marks here: write the addresses and ports that it is set for";
            carried.dormant = Some(why.to_owned());
        }
        import.services.push(carried);
    }
    import.config = sheave_proto::config::Config { services: Vec::new(), ..config };
    import
}

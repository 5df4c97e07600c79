//! What there is: the families of methods, and the published systems they belong to.

use headwise_engine::cache::CacheMethod;
use headwise_engine::experts::ExpertPolicy;
use headwise_engine::pine::SegmentPositions;
use headwise_engine::retrieve::Retriever;
use headwise_engine::scales::ScalePolicy;
use headwise_engine::{Decoding, ExitRule};
use headwise_lab::components::Op;
use headwise_lab::experiments::{self, Status};
use headwise_lab::softmax_form::SoftmaxForm;
use headwise_models::compress::{Pruning, Quantisation};
use headwise_nn::channel::ChannelSpec;
use headwise_nn::mixer::MixerSpec;
use headwise_nn::position::{InputPositionSpec, PositionSpec, RopeScaling};
use headwise_spec::{Family, Signature};
use headwise_train::data::{SourceSpec, TokenizerSpec};
use headwise_train::distil::Imitation;
use headwise_train::fuse::Fusion;
use headwise_train::loss::Loss;
use headwise_train::objective::ObjectiveSpec;
use headwise_train::optimiser::OptimiserSpec;
use headwise_train::restraint::Restraint;
use headwise_train::schedule::Schedule;
use headwise_train::start::StartSpec;
use headwise_train::supernet::Supernet;
use serde::Deserialize;

/// A family of interchangeable methods.
pub struct FamilyEntry {
    /// The word for the family.
    pub name: &'static str,
    /// Its methods with their parameters.
    pub methods: Vec<Signature>,
}

/// Every family.
pub fn families() -> Vec<FamilyEntry> {
    vec![
        entry::<CacheMethod>(),
        entry::<Retriever>(),
        entry::<Decoding>(),
        entry::<ExitRule>(),
        entry::<SegmentPositions>(),
        entry::<ScalePolicy>(),
        entry::<ExpertPolicy>(),
        entry::<MixerSpec>(),
        entry::<PositionSpec>(),
        entry::<InputPositionSpec>(),
        entry::<RopeScaling>(),
        entry::<ChannelSpec>(),
        entry::<Quantisation>(),
        entry::<Pruning>(),
        entry::<Fusion>(),
        entry::<ObjectiveSpec>(),
        entry::<Imitation>(),
        entry::<Restraint>(),
        entry::<Supernet>(),
        entry::<Loss>(),
        entry::<OptimiserSpec>(),
        entry::<Schedule>(),
        entry::<TokenizerSpec>(),
        entry::<SourceSpec>(),
        entry::<StartSpec>(),
        entry::<SoftmaxForm>(),
        entry::<Op>(),
    ]
}

fn entry<F: Family>() -> FamilyEntry {
    FamilyEntry { name: F::FAMILY, methods: F::names().into_iter().filter_map(F::signature).collect() }
}

/// A published system, as `catalogue.toml` lists it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct System {
    /// Its key.
    pub id: String,
    /// What it is.
    pub title: String,
    /// Where it was published.
    pub paper: String,
    /// When.
    pub year: u16,
    /// The family of its methods.
    pub family: String,
    /// The names of its methods in specs.
    pub methods: Vec<String>,
}

/// The recorded results of experiments, by system.
const RECORDS: &[(&str, &str)] = &[
    ("I01", include_str!("../../../results/reproduce/I01.json")),
    ("I02", include_str!("../../../results/reproduce/I02.json")),
    ("I03", include_str!("../../../results/reproduce/I03.json")),
    ("I04", include_str!("../../../results/reproduce/I04.json")),
    ("I05", include_str!("../../../results/reproduce/I05.json")),
    ("I06", include_str!("../../../results/reproduce/I06.json")),
    ("I07", include_str!("../../../results/reproduce/I07.json")),
    ("I08", include_str!("../../../results/reproduce/I08.json")),
    ("I09", include_str!("../../../results/reproduce/I09.json")),
    ("I10", include_str!("../../../results/reproduce/I10.json")),
    ("I11", include_str!("../../../results/reproduce/I11.json")),
    ("I12", include_str!("../../../results/reproduce/I12.json")),
    ("I13", include_str!("../../../results/reproduce/I13.json")),
    ("I14", include_str!("../../../results/reproduce/I14.json")),
    ("I15", include_str!("../../../results/reproduce/I15.json")),
    ("I16", include_str!("../../../results/reproduce/I16.json")),
    ("I17", include_str!("../../../results/reproduce/I17.json")),
    ("I18", include_str!("../../../results/reproduce/I18.json")),
    ("I19", include_str!("../../../results/reproduce/I19.json")),
    ("I20", include_str!("../../../results/reproduce/I20.json")),
    ("I22", include_str!("../../../results/reproduce/I22.json")),
    ("I23", include_str!("../../../results/reproduce/I23.json")),
    ("L04", include_str!("../../../results/reproduce/L04.json")),
    ("L14", include_str!("../../../results/reproduce/L14.json")),
    ("T01", include_str!("../../../results/reproduce/T01.json")),
];

/// What the recorded results say of a system's claims.
pub fn status(id: &str) -> Status {
    let record = RECORDS.iter().find(|(system, _)| *system == id).map(|(_, text)| *text);
    experiments::find(id).map_or(Status::NotRun, |experiment| experiments::status(experiment, record))
}

/// Methods that others are compared with, and that belong to no system.
#[cfg(test)]
const BASELINES: [&str; 3] = ["softmax", "ordinary", "uniform"];

/// Every published system that is covered.
pub fn systems() -> Vec<System> {
    #[derive(Deserialize)]
    struct File {
        system: Vec<System>,
    }
    let file: File = toml::from_str(include_str!("../../../catalogue.toml")).expect("a test reads the catalogue");
    file.system
}

/// CATALOGUE.md: the systems and methods as a page.
pub fn page() -> String {
    let mut page = String::from("# Catalogue\n\nGenerated by `headwise list --markdown`; a test compares.\n");
    for system in systems() {
        let status = status(&system.id).name();
        page += &format!(
            "\n## {}: {}\n\n{} ({}). Claims: {status}.\n\n",
            system.id, system.title, system.paper, system.year
        );
        page += "| method | what it is | parameters |\n|---|---|---|\n";
        for method in families().into_iter().flat_map(|family| family.methods) {
            if system.methods.contains(&method.name.to_string()) {
                let parameters: Vec<&str> = method.parameters.iter().map(|parameter| parameter.name).collect();
                page += &format!("| `{}` | {} | {} |\n", method.name, method.summary(), parameters.join(", "));
            }
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catalogue_and_code_name_the_same_methods() {
        let mut listed: Vec<String> = systems().into_iter().flat_map(|system| system.methods).collect();
        // A system may have methods of other families than its own.
        let covered = |family: &FamilyEntry| {
            let of_family = |name: &String| family.methods.iter().any(|method| method.name == *name);
            let named = systems().iter().any(|system| system.family == family.name);
            named || family.name != Op::FAMILY && systems().iter().any(|system| system.methods.iter().any(of_family))
        };
        let mut coded: Vec<String> = families()
            .into_iter()
            .filter(covered)
            .flat_map(|family| family.methods)
            .map(|method| method.name.to_string())
            .filter(|name| !BASELINES.contains(&name.as_str()))
            .collect();
        listed.sort();
        coded.sort();
        assert_eq!(listed, coded);
    }

    #[test]
    fn every_experiment_is_of_a_listed_system_and_recorded() {
        for experiment in experiments::EXPERIMENTS {
            assert!(systems().iter().any(|system| system.id == experiment.id), "{}", experiment.id);
            let id = experiment.id;
            let status = status(id);
            assert!(!matches!(status, Status::NotRun | Status::Stale), "{id}: run `headwise reproduce {id} --record`");
        }
    }

    #[test]
    fn names_are_unique_over_all_families() {
        // An operation has the name of the method that it is the heart of.
        let methods = families().into_iter().filter(|family| family.name != Op::FAMILY);
        let mut names: Vec<String> =
            methods.flat_map(|family| family.methods).map(|method| method.name.to_string()).collect();
        names.sort();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn the_page_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../CATALOGUE.md");
        let page_on_disk = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(page_on_disk, page(), "run `headwise list --markdown > CATALOGUE.md`");
    }
}

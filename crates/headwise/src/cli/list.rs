//! `headwise list` and `headwise explain`

use std::fmt::{self, Write};

use clap::Args;
use headwise::catalogue::{self, FamilyEntry, System};
use headwise::lab::experiments;
use headwise::spec::Signature;

use super::{Outcome, show};

/// What there is: methods by family, and the published systems they belong to.
#[derive(Debug, Args)]
pub struct List {
    /// Only this family
    #[arg(long)]
    family: Option<String>,
    /// Print CATALOGUE.md
    #[arg(long)]
    markdown: bool,
}

impl List {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        if self.markdown {
            return show(&catalogue::page());
        }
        let families = catalogue::families();
        if let Some(wanted) = &self.family
            && !families.iter().any(|family| family.name == wanted)
        {
            let names: Vec<&str> = families.iter().map(|family| family.name).collect();
            return Err(format!("unknown family `{wanted}`: the families are {}", names.join(", ")).into());
        }
        let mut page = String::new();
        for family in families.iter().filter(|family| self.family.as_deref().is_none_or(|name| name == family.name)) {
            writeln!(page, "{}", family.name)?;
            for method in &family.methods {
                writeln!(page, "  {:<20} {}", method.name, method.summary())?;
            }
        }
        if self.family.is_none() {
            writeln!(page, "systems")?;
            for system in catalogue::systems() {
                writeln!(page, "  {:<5} {:<13} {}", system.id, catalogue::status(&system.id).name(), system.title)?;
            }
        }
        writeln!(page, "\nheadwise explain NAME tells more.")?;
        show(&page)
    }
}

/// A method or a system: what it is, its parameters, its paper.
#[derive(Debug, Args)]
pub struct Explain {
    /// A method such as `snapkv`, or the id of a system such as `I23`
    name: String,
}

impl Explain {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        let systems = catalogue::systems();
        if let Some(system) = systems.iter().find(|system| system.id.eq_ignore_ascii_case(&self.name)) {
            return show(&system_page(system)?);
        }
        let families = catalogue::families();
        let named = |family: &FamilyEntry| family.methods.iter().find(|method| method.name == self.name).cloned();
        let found: Vec<_> = families.iter().filter_map(|family| Some((family.name, named(family)?))).collect();
        if !found.is_empty() {
            let pages = found.iter().map(|(family, method)| method_page(method, family, &systems));
            return show(&pages.collect::<Result<Vec<_>, _>>()?.join("\n"));
        }
        let names: Vec<String> =
            families.iter().flat_map(|family| &family.methods).map(|method| method.name.to_string()).collect();
        let ids: Vec<&str> = systems.iter().map(|system| system.id.as_str()).collect();
        Err(format!(
            "nothing is called `{}`: methods are {}; systems are {}",
            self.name,
            names.join(", "),
            ids.join(", ")
        )
        .into())
    }
}

fn system_page(system: &System) -> Result<String, fmt::Error> {
    let mut page = String::new();
    writeln!(page, "{} {}\n{} ({})\nfamily: {}", system.id, system.title, system.paper, system.year, system.family)?;
    writeln!(page, "claims: {}", catalogue::status(&system.id).name())?;
    for claim in experiments::find(&system.id).into_iter().flat_map(|experiment| experiment.claims) {
        writeln!(page, "  {} {} {}", claim.direction.sign(), claim.threshold, claim.text)?;
    }
    for family in catalogue::families() {
        for method in family.methods.iter().filter(|method| system.methods.iter().any(|name| *name == method.name)) {
            writeln!(page, "  {:<20} {}", method.name, method.summary())?;
        }
    }
    Ok(page)
}

fn method_page(method: &Signature, family: &str, systems: &[System]) -> Result<String, fmt::Error> {
    let mut page = String::new();
    writeln!(page, "{} ({family})\n\n{}", method.name, method.about.trim())?;
    if !method.parameters.is_empty() {
        writeln!(page, "\nparameters")?;
    }
    let width = method.parameters.iter().map(|parameter| parameter.name.len()).max().unwrap_or(0);
    for parameter in &method.parameters {
        let default =
            parameter.default.as_ref().map_or_else(|| "no default".to_owned(), |value| format!("default {value}"));
        let (name, doc, of) = (&parameter.name, parameter.doc.trim(), &parameter.type_name);
        writeln!(page, "  {name:<width$} {doc} ({of}; {default})")?;
    }
    for system in systems.iter().filter(|system| system.methods.iter().any(|name| *name == method.name)) {
        writeln!(page, "\nsystem {}: {} ({})", system.id, system.title, system.year)?;
    }
    Ok(page)
}

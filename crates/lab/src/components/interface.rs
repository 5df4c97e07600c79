//! What a component takes and gives: names, shapes and types, with lengths that the inputs settle.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use serde_json::{Value, json};

use super::ComponentError;

/// The length of a dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Known from the spec.
    Known(usize),
    /// Settled by the first input that has it.
    Symbol(&'static str),
    /// `symbol · times / parts`, whole.
    Share {
        /// The length it depends on.
        symbol: &'static str,
        /// Factor.
        times: usize,
        /// Divisor; must divide the symbol.
        parts: usize,
    },
    /// Any number of leading dimensions.
    Leading,
}

impl Display for Length {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Known(length) => write!(f, "{length}"),
            Self::Symbol(symbol) => f.write_str(symbol),
            Self::Share { symbol, times: 1, parts } => write!(f, "{symbol}/{parts}"),
            Self::Share { symbol, times, parts } => write!(f, "{symbol}/{parts}*{times}"),
            Self::Leading => f.write_str("..."),
        }
    }
}

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementType {
    /// Numbers with a gradient; in files also F16, BF16 and F64.
    F32,
    /// Whole numbers; in files also I64.
    I32,
}

impl ElementType {
    /// The name in a file.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::I32 => "I32",
        }
    }
}

/// One tensor of a component.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// Its name in files.
    pub name: Cow<'static, str>,
    /// Its dimensions, outermost first.
    pub shape: Vec<Length>,
    /// The type of its elements.
    pub element_type: ElementType,
    /// It may be left out.
    pub optional: bool,
    /// Any of its lengths may be 1 instead.
    pub broadcasts: bool,
}

impl TensorSpec {
    /// A tensor of floats that has to be there.
    pub fn float(name: impl Into<Cow<'static, str>>, shape: impl Into<Vec<Length>>) -> Self {
        let (name, shape) = (name.into(), shape.into());
        Self { name, shape, element_type: ElementType::F32, optional: false, broadcasts: false }
    }

    /// A tensor of floats, all of whose lengths the inputs settle.
    pub fn symbolic<const D: usize>(name: &'static str, shape: [&'static str; D]) -> Self {
        Self::float(name, shape.map(Length::Symbol))
    }

    /// The same, but it may be left out.
    pub fn or_none(self) -> Self {
        Self { optional: true, ..self }
    }

    fn json(&self) -> Value {
        let length = |length: &Length| match length {
            Length::Known(length) => json!(length),
            other => json!(other.to_string()),
        };
        let shape: Vec<Value> = self.shape.iter().map(length).collect();
        let mut object = json!({"name": self.name, "shape": shape, "dtype": self.element_type.name()});
        if self.optional {
            object["optional"] = json!(true);
        }
        object
    }
}

/// `F32 [batch, tokens, dim]`
impl Display for TensorSpec {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let lengths: Vec<String> = self.shape.iter().map(Length::to_string).collect();
        write!(f, "{} [{}]", self.element_type.name(), lengths.join(", "))
    }
}

/// The tensors of a component.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interface {
    /// What it computes from.
    pub inputs: Vec<TensorSpec>,
    /// What training changes.
    pub parameters: Vec<TensorSpec>,
    /// What it gives.
    pub outputs: Vec<TensorSpec>,
}

impl Interface {
    /// As JSON, with the component's `spec` in full.
    pub fn json(&self, spec: &str) -> Value {
        let list = |tensors: &[TensorSpec]| tensors.iter().map(TensorSpec::json).collect::<Vec<_>>();
        json!({
            "spec": spec,
            "inputs": list(&self.inputs),
            "parameters": list(&self.parameters),
            "outputs": list(&self.outputs),
        })
    }
}

/// The lengths settled so far.
#[derive(Debug, Default)]
pub struct Lengths(BTreeMap<&'static str, usize>);

impl Lengths {
    /// Checks `found`, the shape of the tensor `spec`, and settles its symbols.
    pub fn settle(&mut self, spec: &TensorSpec, found: &[usize]) -> Result<(), ComponentError> {
        let leading = spec.shape.first() == Some(&Length::Leading);
        let lengths = &spec.shape[usize::from(leading)..];
        let fits = if leading { found.len() >= lengths.len() } else { found.len() == lengths.len() };
        if !fits || found.contains(&0) {
            return Err(self.wrong_shape(spec, found));
        }
        for (length, &found_length) in lengths.iter().zip(&found[found.len() - lengths.len()..]) {
            if spec.broadcasts && found_length == 1 {
                continue;
            }
            if let Length::Symbol(symbol) = *length {
                self.0.entry(symbol).or_insert(found_length);
            }
            if self.length(length)? != Some(found_length) {
                return Err(self.wrong_shape(spec, found));
            }
        }
        Ok(())
    }

    /// The shape of `spec`, all of whose lengths are settled.
    pub fn shape(&self, spec: &TensorSpec) -> Result<Vec<usize>, ComponentError> {
        let unknown = |length| ComponentError::Lengths(format!("nothing settles {length} of `{}`", spec.name));
        spec.shape.iter().map(|length| self.length(length)?.ok_or_else(|| unknown(length))).collect()
    }

    fn length(&self, length: &Length) -> Result<Option<usize>, ComponentError> {
        match *length {
            Length::Known(length) => Ok(Some(length)),
            Length::Symbol(symbol) => Ok(self.0.get(symbol).copied()),
            Length::Leading => Ok(None),
            Length::Share { symbol, times, parts } => match self.0.get(symbol) {
                Some(whole) if whole % parts != 0 => {
                    Err(ComponentError::Lengths(format!("{symbol} = {whole} does not divide into {parts} parts")))
                }
                whole => Ok(whole.map(|whole| whole / parts * times)),
            },
        }
    }

    fn wrong_shape(&self, spec: &TensorSpec, found: &[usize]) -> ComponentError {
        let settled = |length: &Length| match (length, self.length(length)) {
            (Length::Known(length), _) => length.to_string(),
            (length, Ok(Some(value))) => format!("{length} = {value}"),
            (length, _) => length.to_string(),
        };
        let lengths: Vec<String> = spec.shape.iter().map(settled).collect();
        let broadcasts = if spec.broadcasts { ", any of them 1 instead" } else { "" };
        let wanted = format!("[{}], every length at least 1{broadcasts}", lengths.join(", "));
        ComponentError::WrongShape { name: spec.name.to_string(), found: found.to_vec(), wanted }
    }
}

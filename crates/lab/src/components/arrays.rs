//! Tensors between files and components.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use headwise_models::safetensors::{Checkpoint, Dtype, TensorView};
use serde_json::{Map, json};

use super::ComponentError;
use super::interface::{ElementType, Lengths, TensorSpec};

/// Elements with their shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The lengths of the dimensions, outermost first.
    pub shape: Vec<usize>,
    /// The elements, the last dimension contiguous.
    pub values: Values,
}

/// The elements of an [`Array`].
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Floats.
    Float(Vec<f32>),
    /// Whole numbers.
    Int(Vec<i32>),
}

/// Arrays by name.
pub type Arrays = BTreeMap<String, Array>;

/// Reads the tensors `wanted` from the file at `path` and settles `lengths` by them.
///
/// Tensors that are neither wanted nor in `ignored` are errors.
pub(super) fn read(
    path: &Path,
    wanted: &[TensorSpec],
    ignored: &[String],
    lengths: &mut Lengths,
) -> Result<Arrays, ComponentError> {
    let file = Checkpoint::open(path)?;
    let known = |name: &str| wanted.iter().any(|spec| spec.name == name) || ignored.iter().any(|other| other == name);
    if let Some(name) = file.names().find(|name| !known(name)) {
        let valid = wanted.iter().map(|spec| spec.name.to_string()).chain(ignored.iter().cloned()).collect();
        return Err(ComponentError::UnknownTensor { path: path.to_owned(), name: name.to_owned(), valid });
    }
    let mut arrays = Arrays::new();
    for spec in wanted {
        if file.contains(&spec.name) {
            let view = file.tensor(&spec.name)?;
            lengths.settle(spec, &view.shape)?;
            arrays.insert(spec.name.to_string(), array(view, spec.element_type)?);
        } else if !spec.optional {
            let wanted = spec.to_string();
            return Err(ComponentError::Missing { path: path.to_owned(), name: spec.name.to_string(), wanted });
        }
    }
    Ok(arrays)
}

/// The elements of `view`, converted to `element_type`.
pub(super) fn array(view: &TensorView, element_type: ElementType) -> Result<Array, ComponentError> {
    let wrong = |wanted| ComponentError::WrongType { name: view.name.clone(), found: view.dtype, wanted };
    let bytes = view.blob.bytes();
    let values = match (element_type, view.dtype) {
        (ElementType::F32, Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64) => Values::Float(view.to_f32()?),
        (ElementType::F32, _) => return Err(wrong("F32, F16, BF16 or F64")),
        (ElementType::I32, Dtype::I32) => {
            Values::Int(bytes.as_chunks().0.iter().map(|chunk| i32::from_le_bytes(*chunk)).collect())
        }
        (ElementType::I32, Dtype::I64) => {
            let wide = bytes.as_chunks().0.iter().map(|chunk| i64::from_le_bytes(*chunk));
            Values::Int(
                wide.map(i32::try_from).collect::<Result<_, _>>().map_err(|_| wrong("whole numbers of 32 bits"))?,
            )
        }
        (ElementType::I32, _) => return Err(wrong("I32 or I64")),
    };
    Ok(Array { shape: view.shape.clone(), values })
}

/// `arrays` as a safetensors file.
pub fn to_safetensors(arrays: &Arrays) -> Vec<u8> {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, array) in arrays {
        let start = data.len();
        let element_type = match &array.values {
            Values::Float(values) => {
                data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                ElementType::F32
            }
            Values::Int(values) => {
                data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                ElementType::I32
            }
        };
        let offsets = [start, data.len()];
        let entry = json!({"dtype": element_type.name(), "shape": array.shape, "data_offsets": offsets});
        header.insert(name.clone(), entry);
    }
    let mut header = serde_json::Value::Object(header).to_string().into_bytes();
    // Readers map the data, which should then be aligned.
    header.resize(header.len().next_multiple_of(8), b' ');
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

/// A tensor of any rank: its elements in a row, and its shape.
#[derive(Clone, Debug)]
pub(super) struct Flat {
    pub(super) shape: Vec<usize>,
    pub(super) elements: Tensor<1>,
}

impl Flat {
    pub(super) fn new<const D: usize>(tensor: Tensor<D>) -> Self {
        let shape = tensor.dims();
        Self { shape: shape.to_vec(), elements: tensor.reshape([shape.iter().product::<usize>()]) }
    }
}

/// The tensors a component runs on; checked against its interface.
pub(super) struct Tensors {
    floats: BTreeMap<String, Flat>,
    ints: BTreeMap<String, Vec<i32>>,
    device: Device,
}

impl Tensors {
    /// `arrays` on `device`; with `tracked`, floats have gradients.
    pub(super) fn new(arrays: &Arrays, device: Device, tracked: bool) -> Self {
        let (mut floats, mut ints) = (BTreeMap::new(), BTreeMap::new());
        for (name, Array { shape, values }) in arrays {
            match values {
                Values::Float(values) => {
                    let elements = tensor(values.clone(), &device);
                    let elements = if tracked { elements.require_grad() } else { elements };
                    floats.insert(name.clone(), Flat { shape: shape.clone(), elements });
                }
                Values::Int(values) => {
                    ints.insert(name.clone(), values.clone());
                }
            }
        }
        Self { floats, ints, device }
    }

    /// Where they are.
    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// Every tensor of floats.
    pub(super) fn floats(&self) -> impl Iterator<Item = (&String, &Flat)> {
        self.floats.iter()
    }

    /// The floats called `name`, of rank `D` by the interface.
    pub(super) fn float<const D: usize>(&self, name: &str) -> Tensor<D> {
        self.find(name).unwrap_or_else(|| panic!("the interface names `{name}` with {D} dimensions"))
    }

    /// The floats called `name`, if they were given.
    pub(super) fn find<const D: usize>(&self, name: &str) -> Option<Tensor<D>> {
        let Flat { shape, elements } = self.floats.get(name)?;
        let shape: [usize; D] = shape.as_slice().try_into().ok()?;
        Some(elements.clone().reshape(shape))
    }

    /// The floats called `name` as rows of the last dimension, and their shape.
    pub(super) fn rows(&self, name: &str) -> (Tensor<2>, Vec<usize>) {
        let Flat { shape, elements } = &self.floats[name];
        let dim = shape.last().copied().unwrap_or(1);
        let rows = shape.iter().product::<usize>() / dim;
        (elements.clone().reshape([rows, dim]), shape.clone())
    }

    /// The whole numbers called `name`, if they were given.
    pub(super) fn ints(&self, name: &str) -> Option<&[i32]> {
        self.ints.get(name).map(Vec::as_slice)
    }
}

/// A tensor of `values`.
pub(super) fn tensor(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let length = values.len();
    Tensor::from_data(TensorData::new(values, [length]), device)
}

//! A [`Decoder`] without the experts of its mixtures, which stay in their file until they are read one at a time.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use half::bf16;
use headwise_kernels::matrix::PackedMatrix;
use headwise_nn::Linear;
use headwise_nn::channel::{Channel, ChannelSpec, Elsewhere, ExpertSource, Experts, Gate, Gated, Moe};

use super::asked::Asked;
use super::folder::{described, description, fill, precision};
use super::{Decoder, DecoderSpec, LoadError, Precision, Weights};
use crate::safetensors::{Checkpoint, TensorView};

/// The experts of a model, in its file.
#[derive(Clone, Debug)]
pub struct ExpertFile {
    layers: Vec<Vec<[TensorView; 3]>>,
    gates: Vec<Gate>,
    bytes: Vec<usize>,
    precision: Precision,
}

impl ExpertFile {
    /// Layers that are mixtures.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Experts of mixture `layer`.
    pub fn experts(&self, layer: usize) -> usize {
        self.layers[layer].len()
    }

    /// Bytes of memory that an expert of mixture `layer` takes once it is read.
    pub fn bytes(&self, layer: usize) -> usize {
        self.bytes[layer]
    }

    /// Bytes of memory that all experts take together.
    pub fn total_bytes(&self) -> usize {
        self.layers.iter().zip(&self.bytes).map(|(experts, bytes)| experts.len() * bytes).sum()
    }

    /// Reads expert `expert` of mixture `layer`.
    pub fn read(&self, layer: usize, expert: usize) -> Gated {
        let [gate, up, down] = self.layers[layer][expert].each_ref().map(|tensor| self.pack(tensor));
        Gated::new(gate, up, down, self.gates[layer])
    }

    fn pack(&self, tensor: &TensorView) -> Linear {
        // Cannot fail: every tensor's type was looked at when the file was opened.
        let values = tensor.to_f32().unwrap_or_default();
        let [outputs, inputs] = [tensor.shape[0], tensor.shape[1]];
        Linear::packed(packed(&values, outputs, inputs, self.precision), None)
    }
}

/// The matrix `[outputs, inputs]` in the layout of the inference kernels.
pub(super) fn packed(values: &[f32], outputs: usize, inputs: usize, precision: Precision) -> PackedMatrix {
    match precision {
        Precision::F32 => PackedMatrix::from_f32(values, outputs, inputs),
        Precision::Bf16 => {
            let bits: Vec<u16> = values.iter().map(|&value| bf16::from_f32(value).to_bits()).collect();
            PackedMatrix::from_bf16_bits(&bits, outputs, inputs)
        }
    }
}

impl Decoder {
    /// Loads the model in `directory`, one with a `headwise.toml`, but for the experts of its mixtures, which are left in their file:
    /// [`set_experts`](Self::set_experts) says who brings them. None if the model has no mixtures. `weights` is not
    /// [`Trainable`](Weights::Trainable).
    pub fn open_without_experts(
        directory: &Path,
        weights: Weights,
        device: &Device,
    ) -> Result<Option<(Self, ExpertFile)>, LoadError> {
        let Some(text) = description(directory)? else { return Ok(None) };
        let Some(model) = Self::random_without_experts(described(&text)?, device)? else { return Ok(None) };
        let checkpoint = Checkpoint::open(directory)?;
        let asked = Asked::new(&checkpoint);
        let precision = precision(&checkpoint, weights);
        let mut file = ExpertFile { layers: Vec::new(), gates: Vec::new(), bytes: Vec::new(), precision };
        let dim = model.spec.dim;
        for (block, mixture) in model.mixtures() {
            let spec = mixture.spec();
            let tensor = |expert: usize, part: &str, shape: [usize; 2]| {
                let name = format!("blocks.{block}.channel.experts.{expert}.{part}.weight");
                let tensor = asked.find(&name, &shape)?.clone();
                tensor.check_float()?;
                Ok::<_, LoadError>(tensor)
            };
            let (narrow, wide) = ([spec.hidden, dim], [dim, spec.hidden]);
            let expert = |expert| {
                Ok([tensor(expert, "gate", narrow)?, tensor(expert, "up", narrow)?, tensor(expert, "down", wide)?])
            };
            file.layers.push((0..spec.experts).map(expert).collect::<Result<_, LoadError>>()?);
            file.gates.push(spec.gate);
        }
        file.bytes = (0..file.layers()).map(|layer| bytes(&file.read(layer, 0))).collect();
        let mut model = fill(model, &asked, device)?;
        asked.check_unused("headwise.toml", |_| false)?;
        model.pack(precision);
        Ok(Some((model, file)))
    }

    /// A model of `spec` whose mixtures have no experts, which are never in memory; none if it has no mixtures.
    fn random_without_experts(spec: DecoderSpec, device: &Device) -> Result<Option<Self>, LoadError> {
        spec.check()?;
        let mut narrow = spec.clone();
        for layer in &mut narrow.layers {
            if let Some(ChannelSpec::MoeSpec(mixture)) = &mut layer.channel {
                mixture.hidden = 1;
            }
        }
        let mut model = Self { spec: spec.clone(), ..Self::random(narrow, device)? };
        for (block, layer) in model.blocks.iter_mut().zip(spec.layers.iter().step_by(spec.shared_by)) {
            if let (Some(Channel::Moe(mixture)), Some(ChannelSpec::MoeSpec(spec))) =
                (&mut block.channel, &layer.channel)
            {
                mixture.let_go(spec);
            }
        }
        let mixed = model.mixtures().next().is_some();
        Ok(mixed.then_some(model))
    }

    /// Lets `source` bring the experts of all mixtures.
    pub fn set_experts(&mut self, source: &Arc<dyn ExpertSource>) {
        for (layer, mixture) in self.mixtures_mut().enumerate() {
            mixture.experts = Experts::Elsewhere(Elsewhere::new(Arc::clone(source), layer));
        }
    }

    /// The mixtures of experts, each with the number of its block.
    pub fn mixtures(&self) -> impl Iterator<Item = (usize, &Moe)> {
        self.blocks.iter().enumerate().filter_map(|(index, block)| match &block.channel {
            Some(Channel::Moe(mixture)) => Some((index, mixture)),
            _ => None,
        })
    }

    fn mixtures_mut(&mut self) -> impl Iterator<Item = &mut Moe> {
        self.blocks.iter_mut().filter_map(|block| match &mut block.channel {
            Some(Channel::Moe(mixture)) => Some(mixture),
            _ => None,
        })
    }
}

/// Bytes of memory of an expert.
fn bytes(expert: &Gated) -> usize {
    let bytes = |linear: &Linear| match linear {
        Linear::Packed(packed) => packed.weight().bytes(),
        Linear::Float(_) | Linear::Watched(_) => 0,
    };
    [&expert.gate, &expert.up, &expert.down].map(bytes).iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use headwise_ops::host::Host;

    const SPEC: &str = r#"
        vocabulary = 12
        dim = 8
        context = 16
        epsilon = 1e-5
        [[layers]]
        mixer = "softmax(heads=2)"
        channel = "moe(experts=3, active=2, hidden=5)"
        [[layers]]
        mixer = "softmax(heads=2)"
        channel = "gated(hidden=6)"
        [[layers]]
        mixer = "softmax(heads=2)"
        channel = "moe(experts=2, active=1, hidden=9)"
        "#;

    /// Reads every expert when it is needed.
    #[derive(Debug)]
    struct Reader(ExpertFile);

    impl ExpertSource for Reader {
        fn visit(
            &self,
            layer: usize,
            _: &burn::tensor::Tensor<2>,
            routes: &headwise_nn::channel::Routes,
            run: &mut dyn FnMut(usize, &Gated),
        ) {
            routes.needed().into_iter().for_each(|expert| run(expert, &self.0.read(layer, expert)));
        }
    }

    fn written(precision: Precision) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let model = Decoder::random(toml::from_str(SPEC).unwrap(), &Device::flex()).unwrap();
        model.export(folder.path(), precision).unwrap();
        folder
    }

    #[test]
    fn a_mixture_is_written_and_read() {
        let device = Device::flex();
        let model = Decoder::random(toml::from_str(SPEC).unwrap(), &device).unwrap();
        let folder = tempfile::tempdir().unwrap();
        model.export(folder.path(), Precision::F32).unwrap();
        let scores = |model: &Decoder| Host::new(model.forward(&[1, 5, 3, 7], &device)).as_slice().to_vec();
        for weights in [Weights::Trainable, Weights::F32, Weights::Stored] {
            let read = Decoder::open(folder.path(), weights, &device).unwrap();
            let near = scores(&model).iter().zip(scores(&read)).all(|(a, b)| (a - b).abs() < 1e-5);
            assert!(near && *read.spec() == model.spec().resolved(), "{weights:?}");
        }
    }

    #[test]
    fn experts_that_stay_in_the_file_give_the_same_bits() {
        let device = Device::flex();
        for (precision, weights) in
            [(Precision::F32, Weights::Stored), (Precision::Bf16, Weights::Stored), (Precision::Bf16, Weights::F32)]
        {
            let folder = written(precision);
            let whole = Decoder::open(folder.path(), weights, &device).unwrap();
            let (mut model, file) = Decoder::open_without_experts(folder.path(), weights, &device).unwrap().unwrap();
            assert_eq!((file.layers(), file.experts(0), file.experts(1)), (2, 3, 2));
            assert_eq!(file.total_bytes(), 3 * file.bytes(0) + 2 * file.bytes(1));
            let source: Arc<dyn ExpertSource> = Arc::new(Reader(file));
            model.set_experts(&source);
            let scores = |model: &Decoder| Host::new(model.forward(&[1, 5, 3, 7], &device)).as_slice().to_vec();
            assert_eq!(scores(&whole), scores(&model), "{precision:?} {weights:?}");
        }
    }

    #[test]
    fn damaged_files_are_refused() {
        let device = Device::flex();
        let folder = written(Precision::F32);
        let open = || Decoder::open_without_experts(folder.path(), Weights::Stored, &device);
        let error = || open().unwrap_err().to_string();
        let (description, weights) = (folder.path().join("headwise.toml"), folder.path().join("model.safetensors"));
        let (text, bytes) = (std::fs::read_to_string(&description).unwrap(), std::fs::read(&weights).unwrap());
        std::fs::write(&description, text.replace("experts = 3", "experts = 4")).unwrap();
        assert!(error().contains("blocks.0.channel."), "{}", error());
        std::fs::write(&description, text.replace("experts = 3", "experts = 2")).unwrap();
        assert!(error().contains("[3, 8]") || error().contains("blocks.0.channel.experts.2"), "{}", error());
        std::fs::write(&description, text.replace("active = 2", "active = 9")).unwrap();
        assert!(error().contains("active is 9"), "{}", error());
        std::fs::write(&description, &text).unwrap();
        std::fs::write(&weights, &bytes[..bytes.len() - 4]).unwrap();
        assert!(error().contains("model.safetensors"), "{}", error());
    }

    #[test]
    fn a_model_without_mixtures_leaves_nothing_in_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let text = SPEC.replace("moe(experts=3, active=2, ", "gated(").replace("moe(experts=2, active=1, ", "gated(");
        let device = Device::flex();
        let model = Decoder::random(toml::from_str(&text).unwrap(), &device).unwrap();
        model.export(folder.path(), Precision::F32).unwrap();
        assert!(Decoder::open_without_experts(folder.path(), Weights::Stored, &device).unwrap().is_none());
    }
}

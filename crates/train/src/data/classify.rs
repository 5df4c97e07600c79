//! Tasks of classes as sources: a sequence, and after its last token the question which class it is.
//!
//! A task has its own tokens; class `c` is token `c` after them: with the 257 tokens of bytes, class 1 is token 258. The tasks of the
//! Long Range Arena (Tay et al. 2020, arXiv:2011.04006), made up as they are needed or, with a `path`, from the published data.

use headwise_tasks::labelled_files::{read_cifar10, read_pairs, read_text_folders};
use headwise_tasks::{ByteRetrieval, ByteSentiment, LabelledSample, ListOps, Pathfinder, ShapeImages, TaskError};
use serde::{Deserialize, Serialize};

use super::task::{class, labelled, made, published, vocabulary};
use super::{Codec, DataError, Source, SourceMethod};

headwise_spec::method! {
    /// The value of nested lists of operations on digits; tokens are brackets with their operation, and digits.
    ///
    /// Nangia and Bowman 2018, arXiv:1804.06028; in the Long Range Arena, Tay et al. 2020, arXiv:2011.04006.
    pub struct ListOpsSpec {
        /// Depth at which only digits stand.
        pub max_depth: usize = 10,
        /// Most arguments of an operation.
        pub max_args: usize = 10,
        /// Fewest tokens of a sequence; none takes half of the most.
        pub least: Option<usize> = None,
        /// Share of the sequences, compared with the other sources.
        pub weight: f64 = 1.0,
    }
}

headwise_spec::method! {
    /// Is a review, read byte by byte, more positive than negative? Token 0 is padding, byte `b` token `b + 1`.
    ///
    /// Made-up reviews in the place of those of the Long Range Arena, Tay et al. 2020, arXiv:2011.04006.
    pub struct ByteSentimentSpec {
        /// Judging sentences of a made-up review, an odd number.
        pub judgements: usize = 5,
        /// A folder with the folders `neg` and `pos` of published reviews, one text file each; none makes reviews up.
        pub path: Option<String> = None,
        /// Share of the sequences, compared with the other sources.
        pub weight: f64 = 1.0,
    }
}

headwise_spec::method! {
    /// Have two documents, read byte by byte, the same topic? Each takes half of the sequence; token 0 is padding, byte `b` token `b + 1`.
    ///
    /// Made-up documents in the place of those of the Long Range Arena, Tay et al. 2020, arXiv:2011.04006.
    pub struct ByteRetrievalSpec {
        /// A file of published pairs, with tabs between class, document and document; none makes documents up.
        pub path: Option<String> = None,
        /// Share of the sequences, compared with the other sources.
        pub weight: f64 = 1.0,
    }
}

headwise_spec::method! {
    /// Which of ten shapes is in a noisy grey picture of 32 × 32 pixels, a token each?
    ///
    /// Made-up pictures in the place of those of the Long Range Arena, Tay et al. 2020, arXiv:2011.04006.
    pub struct ShapeImagesSpec {
        /// A file of CIFAR-10 in binary form, whose ten classes are asked for instead; none draws shapes.
        pub path: Option<String> = None,
        /// Share of the sequences, compared with the other sources.
        pub weight: f64 = 1.0,
    }
}

headwise_spec::method! {
    /// Is there a dashed path between the two marked points of a grey picture, a token for each pixel?
    ///
    /// Linsley et al. 2018, arXiv:1805.08315; in the Long Range Arena, Tay et al. 2020, arXiv:2011.04006.
    pub struct PathfinderSpec {
        /// `short` (16 × 16 pixels), `standard` (32 × 32) or `path_x` (128 × 128).
        pub size: PathfinderSize = PathfinderSize::Standard,
        /// Share of the sequences, compared with the other sources.
        pub weight: f64 = 1.0,
    }
}

/// Pictures of dashed paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathfinderSize {
    /// 16 × 16 pixels, with shorter paths.
    Short,
    /// The benchmark's 32 × 32 pixels.
    #[default]
    Standard,
    /// The benchmark's 128 × 128 pixels.
    PathX,
}

impl ListOpsSpec {
    fn task(&self, length: usize) -> Result<ListOps, TaskError> {
        /// An operation on two digits.
        const SHORTEST: usize = 4;
        if length < SHORTEST {
            return Err(TaskError::TooShort { task: "list_ops", length, needed: SHORTEST });
        }
        let lengths = self.least.unwrap_or(length / 2)..length.saturating_add(1);
        Ok(ListOps { max_depth: self.max_depth, max_args: self.max_args, lengths })
    }
}

impl SourceMethod for ListOpsSpec {
    fn vocabulary(&self) -> Option<u32> {
        vocabulary(&ListOps::default())
    }

    fn open(&self, _: &Codec) -> Result<Box<dyn Source>, DataError> {
        made(self, |spec, slot| class(&spec.task(slot.length)?, slot))
    }
}

impl SourceMethod for ByteSentimentSpec {
    fn vocabulary(&self) -> Option<u32> {
        vocabulary(&ByteSentiment::default())
    }

    fn path(&mut self) -> Option<&mut String> {
        self.path.as_mut()
    }

    fn open(&self, _: &Codec) -> Result<Box<dyn Source>, DataError> {
        match &self.path {
            None => made(self, |spec, slot| {
                class(&ByteSentiment { length: slot.length, judgements: spec.judgements }, slot)
            }),
            Some(path) => published(read_text_folders(path, &["neg", "pos"], usize::MAX)?, |review, slot| {
                let tokens = review.tokens.iter().copied().take(slot.length).collect();
                labelled(&ByteSentiment::default(), LabelledSample { tokens, label: review.label }, slot)
            }),
        }
    }
}

impl SourceMethod for ByteRetrievalSpec {
    fn vocabulary(&self) -> Option<u32> {
        vocabulary(&ByteRetrieval::default())
    }

    fn path(&mut self) -> Option<&mut String> {
        self.path.as_mut()
    }

    fn open(&self, _: &Codec) -> Result<Box<dyn Source>, DataError> {
        match &self.path {
            None => made(&(), |(), slot| class(&ByteRetrieval { length: slot.length / 2 }, slot)),
            Some(path) => published(read_pairs(path)?, |pair, slot| {
                labelled(&ByteRetrieval::default(), pair.sample(slot.length / 2), slot)
            }),
        }
    }
}

impl SourceMethod for ShapeImagesSpec {
    fn vocabulary(&self) -> Option<u32> {
        vocabulary(&ShapeImages)
    }

    fn path(&mut self) -> Option<&mut String> {
        self.path.as_mut()
    }

    fn open(&self, _: &Codec) -> Result<Box<dyn Source>, DataError> {
        match &self.path {
            None => made(&ShapeImages, class),
            Some(path) => published(read_cifar10(path)?, |picture, slot| labelled(&ShapeImages, picture.clone(), slot)),
        }
    }
}

impl PathfinderSpec {
    fn task(&self) -> Pathfinder {
        match self.size {
            PathfinderSize::Short => Pathfinder::short(),
            PathfinderSize::Standard => Pathfinder::default(),
            PathfinderSize::PathX => Pathfinder::path_x(),
        }
    }
}

impl SourceMethod for PathfinderSpec {
    fn vocabulary(&self) -> Option<u32> {
        vocabulary(&self.task())
    }

    fn open(&self, _: &Codec) -> Result<Box<dyn Source>, DataError> {
        made(&self.task(), class)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Slot;
    use super::super::task::tests::{asked, asks_for_the_class};
    use super::*;
    use crate::objective::Document;

    #[test]
    fn the_class_is_the_solver_s() {
        asks_for_the_class(&ListOpsSpec::default(), &ListOps::default(), 60);
        let judgements = 3;
        let review = ByteSentiment { length: 300, judgements };
        asks_for_the_class(&ByteSentimentSpec { judgements, ..ByteSentimentSpec::default() }, &review, 300);
        asks_for_the_class(&ByteRetrievalSpec::default(), &ByteRetrieval { length: 150 }, 300);
        asks_for_the_class(&ShapeImagesSpec::default(), &ShapeImages, 1024);
        let short = PathfinderSpec { size: PathfinderSize::Short, ..PathfinderSpec::default() };
        asks_for_the_class(&short, &Pathfinder::short(), 256);
    }

    #[test]
    fn lists_are_at_least_half_as_long_as_they_may_be() {
        let source = ListOpsSpec::default().open(&Codec::Bytes).unwrap();
        for index in 0..20 {
            let slot = Slot { seed: 1, stage: 0, step: 0, index, length: 40 };
            let ids = &source.documents(&slot, index, &Codec::Bytes).unwrap()[0].ids;
            assert!((20..=40).contains(&ids.len()), "{}", ids.len());
        }
    }

    /// An epoch of a source at a length.
    fn epoch(source: &impl SourceMethod, count: u64, length: usize) -> Vec<Document> {
        let source = source.open(&Codec::Bytes).unwrap();
        let slot = |index| Slot { seed: 1, stage: 0, step: 0, index, length };
        (0..count).flat_map(|index| source.documents(&slot(index), index, &Codec::Bytes).unwrap()).collect()
    }

    #[test]
    fn published_data_comes_once_in_an_epoch() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (name, text) in [("neg/1.txt", "bad"), ("neg/2.txt", ""), ("pos/1.txt", "very good")] {
            std::fs::create_dir_all(path(name).parent().unwrap()).unwrap();
            std::fs::write(path(name), text).unwrap();
        }
        let spec = ByteSentimentSpec { path: Some(folder.path().display().to_string()), ..Default::default() };
        let mut found: Vec<_> =
            epoch(&spec, 3, 4).into_iter().map(|document| (asked(&document), document.ids)).collect();
        found.sort();
        let tokens = |text: &str| text.bytes().map(|byte| u32::from(byte) + 1).collect::<Vec<_>>();
        // Of a review without a token nothing can be asked.
        assert_eq!(found, [(vec![], vec![]), (vec![257], tokens("bad")), (vec![258], tokens("very"))]);

        std::fs::write(path("pairs.tsv"), "1\tab\tabcd\n").unwrap();
        let spec = ByteRetrievalSpec { path: Some(path("pairs.tsv").display().to_string()), ..Default::default() };
        let document = &epoch(&spec, 1, 7)[0];
        assert_eq!((asked(document), document.ids.as_slice()), (vec![258], &[98, 99, 0, 98, 99, 100][..]));

        std::fs::write(path("batch.bin"), [7; 3073]).unwrap();
        let spec = ShapeImagesSpec { path: Some(path("batch.bin").display().to_string()), ..Default::default() };
        let document = &epoch(&spec, 1, 1024)[0];
        assert_eq!((asked(document), document.ids.as_slice()), (vec![256 + 7], &[7; 1024][..]));
        let slot = Slot { seed: 1, stage: 0, step: 0, index: 0, length: 1000 };
        let error = spec.open(&Codec::Bytes).unwrap().documents(&slot, 0, &Codec::Bytes).unwrap_err().to_string();
        assert!(error.contains("at 1000 tokens") && error.contains("1024"), "{error}");
        let spec = ShapeImagesSpec { path: Some(path("none.bin").display().to_string()), ..Default::default() };
        assert!(spec.open(&Codec::Bytes).unwrap_err().to_string().contains("none.bin"));
    }
}

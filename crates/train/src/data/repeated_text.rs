//! Passages of running text that come again and again: what follows a token is what followed it before, which is what induction
//! heads learn, from every token of the text.

use rand::RngExt;

use super::{Codec, DataError, Slot, Source, SourceMethod, Text};
use crate::draws::{Purpose, draws};
use crate::objective::Document;

headwise_spec::method! {
    /// Passages of a file or folder, each repeated until it fills the sequence.
    pub struct RepeatedText {
        /// The file or folder.
        pub path: String = String::new(),
        /// Files whose path contains one of these are left out.
        pub exclude: Vec<String> = Vec::new(),
        /// Only files whose path contains one of these; none takes all.
        pub only: Vec<String> = Vec::new(),
        /// Least tokens of a passage; the most are half of the sequence.
        pub shortest: usize = 16,
        /// Share of the sequences, compared with the other sources.
        pub weight: f64 = 1.0,
    }
}

impl RepeatedText {
    fn text(&self) -> Text {
        let Self { path, exclude, only, weight, .. } = self.clone();
        Text { path, exclude, only, weight }
    }
}

impl SourceMethod for RepeatedText {
    fn path(&mut self) -> Option<&mut String> {
        Some(&mut self.path)
    }

    fn texts(&self) -> Result<Vec<String>, DataError> {
        SourceMethod::texts(&self.text())
    }

    fn open(&self, codec: &Codec) -> Result<Box<dyn Source>, DataError> {
        let text = SourceMethod::open(&self.text(), codec)?;
        Ok(Box::new(Repeated { text, shortest: self.shortest.max(1) }))
    }
}

/// Repeats what another source says.
#[derive(Debug)]
struct Repeated {
    text: Box<dyn Source>,
    shortest: usize,
}

impl Source for Repeated {
    fn documents(&self, slot: &Slot, index: u64, codec: &Codec) -> Result<Vec<Document>, DataError> {
        let longest = (slot.length / 2).max(1);
        let length = draws(slot.seed, Purpose::Document, slot.step, slot.index)
            .random_range(self.shortest.min(longest)..=longest);
        let documents = self.text.documents(&Slot { length: longest, ..*slot }, index, codec)?;
        let passage = documents.iter().map(|document| &document.ids).max_by_key(|ids| ids.len());
        let passage: Vec<u32> = passage.into_iter().flatten().copied().take(length).collect();
        let ids: Vec<u32> = passage.iter().cycle().take(slot.length + 1).copied().collect();
        Ok(vec![Document::text(&ids)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passage_fills_the_sequence() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.txt"), (b'!'..b'z').collect::<Vec<u8>>()).unwrap();
        let spec = RepeatedText { path: folder.path().display().to_string(), shortest: 5, ..RepeatedText::default() };
        let source = SourceMethod::open(&spec, &Codec::Bytes).unwrap();
        let mut lengths = Vec::new();
        for step in 0..20 {
            let slot = Slot { seed: 1, stage: 0, step, index: 0, length: 40 };
            let [document] = source.documents(&slot, step, &Codec::Bytes).unwrap().try_into().unwrap();
            assert_eq!((document.ids.len(), document.weights.iter().sum::<f32>()), (40, 40.0));
            let length = (1..40).find(|&at| document.ids[at] == document.ids[0]).unwrap();
            assert!((5..=20).contains(&length));
            assert!((length..40).all(|at| document.ids[at] == document.ids[at - length]), "{length}");
            lengths.push(length);
        }
        lengths.dedup();
        assert!(lengths.len() > 5, "lengths differ");
    }
}

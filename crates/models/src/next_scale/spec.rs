//! What a next-scale generator is made of, and what it cannot be made of.

/// The sizes of a generator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextScaleSpec {
    /// Width and height of a picture in pixels.
    pub size: usize,
    /// Width and height of the map of every scale, ascending; the last is that of the features.
    pub scales: Vec<usize>,
    /// Channels of a feature.
    pub channels: usize,
    /// Codes of the codebook, shared by all scales.
    pub codes: usize,
    /// Channels of the convolutions.
    pub width: usize,
    /// Channels of the transformer.
    pub dim: usize,
    /// Layers of the transformer.
    pub layers: usize,
    /// Heads of every layer.
    pub heads: usize,
    /// Classes of pictures.
    pub classes: usize,
}

/// Why there is no such generator.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NextScaleError {
    /// A size is nothing.
    #[error("{what} is 0; it must be at least 1")]
    Zero {
        /// Which size.
        what: &'static str,
    },
    /// The scales do not grow.
    #[error("scales {scales:?}: there must be at least two, the first 1, each larger than the one before")]
    Scales {
        /// The scales.
        scales: Vec<usize>,
    },
    /// Features that do not cover the picture evenly.
    #[error("pictures of {size} pixels do not divide into the {side} cells of the last scale")]
    Size {
        /// Pixels on a side.
        size: usize,
        /// Cells on a side.
        side: usize,
    },
    /// Heads of unequal width.
    #[error("{dim} channels do not divide into {heads} heads")]
    Heads {
        /// Channels.
        dim: usize,
        /// Heads.
        heads: usize,
    },
    /// A class that the generator does not know.
    #[error("class {class} is not among the {classes} of the generator, counted from 0")]
    Class {
        /// The class asked for.
        class: usize,
        /// How many there are.
        classes: usize,
    },
    /// A choice of tokens that chooses nothing.
    #[error("{what}: it must be {right}")]
    Choice {
        /// The parameter and its value.
        what: String,
        /// What it can be.
        right: &'static str,
    },
}

impl NextScaleSpec {
    /// A generator of 16 × 16 pixels for so many classes that learns within minutes on two cores, with these scales.
    pub fn micro(scales: &[usize], classes: usize) -> Self {
        let scales = scales.to_vec();
        Self { size: 16, scales, channels: 8, codes: 64, width: 48, dim: 96, layers: 4, heads: 4, classes }
    }

    /// Whether there can be such a generator.
    pub fn check(&self) -> Result<(), NextScaleError> {
        let Self { size, channels, codes, width, dim, layers, heads, classes, .. } = *self;
        let sizes = [
            ("size", size),
            ("channels", channels),
            ("codes", codes),
            ("width", width),
            ("dim", dim),
            ("layers", layers),
            ("heads", heads),
            ("classes", classes),
        ];
        if let Some((what, _)) = sizes.into_iter().find(|&(_, value)| value == 0) {
            return Err(NextScaleError::Zero { what });
        }
        let grow = self.scales.first() == Some(&1) && self.scales.is_sorted_by(|a, b| a < b);
        if !(grow && self.scales.len() > 1) {
            return Err(NextScaleError::Scales { scales: self.scales.clone() });
        }
        if !size.is_multiple_of(self.side()) {
            return Err(NextScaleError::Size { size, side: self.side() });
        }
        if !dim.is_multiple_of(heads) {
            return Err(NextScaleError::Heads { dim, heads });
        }
        Ok(())
    }

    /// Width and height of the features, those of the last scale.
    pub fn side(&self) -> usize {
        self.scales.last().copied().unwrap_or(0)
    }

    /// Tokens of a picture.
    pub fn tokens(&self) -> usize {
        self.scales.iter().map(|side| side * side).sum()
    }

    /// Tokens of the scales before `scale`, which a full cache holds when it is entered.
    pub fn history(&self, scale: usize) -> usize {
        self.scales.iter().take(scale).map(|side| side * side).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused_with_the_numbers() {
        let micro = NextScaleSpec::micro(&[1, 2, 4, 8], 24);
        assert_eq!(micro.check(), Ok(()));
        assert_eq!((micro.tokens(), micro.history(3), micro.side()), (85, 21, 8));
        let refused = |spec: NextScaleSpec| spec.check().unwrap_err().to_string();
        assert!(refused(NextScaleSpec { layers: 0, ..micro.clone() }).contains("layers is 0"));
        assert!(refused(NextScaleSpec { scales: vec![1, 4, 2], ..micro.clone() }).contains("[1, 4, 2]"));
        assert!(refused(NextScaleSpec { scales: vec![2, 4], ..micro.clone() }).contains("the first 1"));
        assert!(refused(NextScaleSpec { scales: vec![1, 5], ..micro.clone() }).contains("16 pixels"));
        assert!(refused(NextScaleSpec { heads: 5, ..micro }).contains("96 channels"));
    }
}

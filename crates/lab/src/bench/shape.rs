//! Shapes as text: `1x8x2048x64`.

use std::fmt;

use super::BenchError;

/// The sides of what a benchmark runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape(Vec<usize>);

/// What the sides of a benchmark's shape mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// The sides in words.
    pub sides: &'static str,
    /// How many there are; `None`: any number.
    pub count: Option<usize>,
    /// Whether every two sides make a matrix, instead of all sides one tensor.
    pub matrices: bool,
    /// A shape of this form.
    pub example: &'static str,
}

impl Form {
    /// Elements of the largest tensor.
    fn elements(self, sides: &[usize]) -> u128 {
        let product = |sides: &[usize]| sides.iter().fold(1u128, |product, &side| product.saturating_mul(side as u128));
        if self.matrices {
            let mut largest = sides.to_vec();
            largest.sort_unstable();
            product(&largest[largest.len().saturating_sub(2)..])
        } else {
            product(sides)
        }
    }
}

/// Elements of the largest tensor: a gibibyte of 32-bit floats.
const MOST: usize = 1 << 28;

impl Shape {
    /// Reads `text` as a shape of `benchmark`, whose form is `form`.
    pub fn parse(text: &str, benchmark: &'static str, form: Form) -> Result<Self, BenchError> {
        let example = form.example;
        let side = |side: &str| side.parse::<usize>().ok().filter(|&side| side > 0);
        let sides: Option<Vec<usize>> = text.trim().split(['x', 'X', '×']).map(side).collect();
        let sides = sides.ok_or_else(|| BenchError::NotAShape { text: text.to_owned(), example })?;
        if form.count.is_some_and(|count| count != sides.len()) {
            return Err(BenchError::WrongSides { benchmark, text: text.to_owned(), form: form.sides, example });
        }
        let elements = form.elements(&sides);
        if elements > MOST as u128 {
            return Err(BenchError::TooLarge { text: text.to_owned(), elements, most: MOST });
        }
        Ok(Self(sides))
    }

    /// The sides, which must be `N`: [`parse`](Self::parse) with a form of `N` sides sees to that.
    pub(super) fn sides<const N: usize>(&self) -> [usize; N] {
        std::array::from_fn(|side| self.0.get(side).copied().unwrap_or(1))
    }

    /// The last side.
    pub fn width(&self) -> usize {
        self.0.last().copied().unwrap_or(1)
    }

    /// The product of all sides.
    pub fn elements(&self) -> usize {
        self.0.iter().product()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, side) in self.0.iter().enumerate() {
            write!(f, "{}{side}", if index == 0 { "" } else { "x" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTENTION: Form =
        Form { sides: "batch x heads x tokens x head_dim", count: Some(4), matrices: false, example: "1x8x2048x64" };

    #[test]
    fn text_and_sides_agree() {
        let shape = Shape::parse(" 1x8x2048X64", "attention_forward", ATTENTION).expect("a shape");
        assert_eq!(shape.sides::<4>(), [1, 8, 2048, 64]);
        assert_eq!((shape.to_string().as_str(), shape.width(), shape.elements()), ("1x8x2048x64", 64, 1 << 20));
    }

    #[test]
    fn errors_name_the_form() {
        let error = |text| Shape::parse(text, "attention_forward", ATTENTION).expect_err(text).to_string();
        for text in ["", "x", "1x8x0x64", "1x-8x4x64", "1x8xmanyx64", "1,8,2048,64", "99999999999999999999x1x1x1"] {
            assert!(error(text).contains("is not a shape") && error(text).contains("1x8x2048x64"), "{}", error(text));
        }
        assert_eq!(
            error("8x512"),
            "attention_forward does not run on `8x512`: its shape is batch x heads x tokens x head_dim, for example 1x8x2048x64"
        );
        assert!(error("1x8x1000000x64").contains("at most 268435456"));
        assert!(error("18446744073709551615x18446744073709551615x18446744073709551615x2").contains("at most"));
    }

    #[test]
    fn a_product_has_three_matrices_and_no_larger_tensor() {
        let form = Form { sides: "rows x inputs x outputs", count: Some(3), matrices: true, example: "1x32x32" };
        let parse = |text| Shape::parse(text, "quant_matmul", form);
        assert!(parse("512x16384x16384").is_ok());
        assert!(parse("1x16384x16385").is_err() && parse("16385x1x16384").is_err());
    }
}

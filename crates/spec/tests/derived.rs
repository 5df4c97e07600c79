//! Enums that derive serde themselves, without [`headwise_spec::family!`].

use headwise_spec::{from_text, to_full_text, to_text};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SnapKv {
    budget: usize,
    keep: Option<f64>,
    inner: Option<Box<Policy>>,
}

impl Default for SnapKv {
    fn default() -> Self {
        Self { budget: 512, keep: None, inner: None }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Full {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Required {
    heads: usize,
    dim: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Policy {
    Snapkv(SnapKv),
    Full(Full),
    Required(Required),
}

/// The same methods, as serde tags enums by default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum External {
    Snapkv(SnapKv),
    Plain { heads: usize },
    None,
}

#[test]
fn internally_tagged_enums_read_and_print() {
    for (text, canonical) in [
        ("snapkv(budget=1024)", "snapkv(budget=1024)"),
        ("snapkv(budget=512, keep=0.25)", "snapkv(keep=0.25)"),
        ("snapkv(inner=full())", "snapkv(inner=full())"),
        ("snapkv(inner=snapkv(budget=512, keep=0.5))", "snapkv(inner=snapkv(keep=0.5))"),
        ("full", "full"),
        ("required(dim=8, heads=2)", "required(heads=2, dim=8)"),
    ] {
        let policy: Policy = from_text(text).unwrap_or_else(|error| panic!("{error:#}"));
        assert_eq!(to_text(&policy), canonical);
        assert_eq!(from_text::<Policy>(canonical).unwrap(), policy);
        assert_eq!(from_text::<Policy>(&to_full_text(&policy)).unwrap(), policy);
    }
    assert_eq!(to_full_text(&Policy::Snapkv(SnapKv::default())), "snapkv(budget=512)");
}

#[test]
fn externally_tagged_enums_do_too() {
    for text in ["snapkv(budget=8)", "snapkv", "plain(heads=3)", "none"] {
        assert_eq!(to_text(&from_text::<External>(text).unwrap()), text);
    }
}

#[test]
fn errors_point_though_serde_buffers() {
    for picture in [
        "\
unknown name `snapkb`; did you mean `snapkv`? valid: snapkv, full, required
  snapkb(budget=1)
  ^",
        "\
unknown parameter `buget` of `snapkv`; did you mean `budget`? valid: budget, keep, inner
  snapkv(keep=0.5, buget=1)
                   ^",
        "\
unknown parameter `x` of `full`; there are none
  full(x=1)
       ^",
        "\
wanted a number for `keep` of `snapkv`, not `half`
  snapkv(budget=3, keep=half, inner=full())
                        ^",
        "\
wanted a whole number for `budget` of `snapkv`, not `x`
  snapkv(budget=x, keep=0.5)
                ^",
        "\
wanted a whole number for `dim` of `required`, not `x`
  required(heads=2, dim=x)
                        ^",
        "\
parameter `dim` of `required` is missing
  required(heads=2)
  ^",
    ] {
        let text = picture.lines().nth(1).unwrap().trim();
        assert_eq!(from_text::<Policy>(text).unwrap_err().render(), picture);
    }
}

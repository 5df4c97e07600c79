//! Methods and families of them, declared where they are implemented.
//!
//! [`method!`](crate::method!) writes a method's parameters with their defaults and docs, [`family!`](crate::family!)
//! lists the methods that are interchangeable. The enum it makes is the only registry: reading, printing,
//! signatures and error messages all come from it.
//!
//! ```
//! headwise_spec::method! {
//!     /// Keeps every pair.
//!     pub struct Full {}
//! }
//!
//! headwise_spec::method! {
//!     /// Attention sinks and a sliding window.
//!     ///
//!     /// Xiao et al. 2024, arXiv:2309.17453.
//!     pub struct Streaming {
//!         /// First tokens, never evicted.
//!         pub sinks: usize = 4,
//!         /// Last tokens kept.
//!         pub window: usize = 1020,
//!     }
//! }
//!
//! headwise_spec::family! {
//!     /// What stays in the key-value cache.
//!     pub enum CachePolicy: "cache" {
//!         full => Full,
//!         streaming => Streaming,
//!     }
//! }
//!
//! let policy: CachePolicy = headwise_spec::from_text("streaming(window=252)").unwrap();
//! assert_eq!(policy, CachePolicy::Streaming(Streaming { sinks: 4, window: 252 }));
//! assert_eq!(policy.to_string(), "streaming(window=252)");
//!
//! let error = headwise_spec::from_text::<CachePolicy>("streaming(windows=252)").unwrap_err();
//! assert_eq!(error.render(), "\
//! unknown parameter `windows` of `streaming`; did you mean `window`? valid: sinks, window
//!   streaming(windows=252)
//!             ^");
//! ```

use std::fmt::{self, Formatter};
use std::marker::PhantomData;

use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, VariantAccess, Visitor};
use serde::{Serialize, Serializer};

use crate::error::Error;
use crate::read::{CALL, read};
use crate::signature::Signature;
use crate::value::Call;
use crate::write::write_fields;

/// The parameters of one method; usually made by [`method!`](crate::method!).
pub trait Method: Default + Serialize + DeserializeOwned {
    /// What the method is: a line for lists, then what `explain` adds.
    const ABOUT: &'static str;

    /// Every parameter with one line about it, in the order of the fields.
    const DOCS: &'static [(&'static str, &'static str)];
}

/// Interchangeable methods: an enum with one variant for each, made by [`family!`](crate::family!).
pub trait Family: Sized + Serialize + DeserializeOwned {
    /// The word for the family: `"cache"`.
    const FAMILY: &'static str;

    /// The names of the methods, in the order of their declaration.
    const NAMES: &'static [&'static str];

    /// The names of the methods.
    fn names() -> Vec<&'static str> {
        Self::NAMES.to_vec()
    }

    /// Converts a parsed call.
    fn parse(call: &Call) -> Result<Self, Error> {
        read(call)
    }

    /// The parameters of the method called `name`, if there is one.
    fn signature(name: &str) -> Option<Signature>;

    /// The name of this method.
    fn name(&self) -> &'static str;

    /// Reads the parameters of the method called `name`.
    fn deserialize_method<'de, D: Deserializer<'de>>(name: &str, parameters: D) -> Result<Self, D::Error>;

    /// This method as a call with all its parameters.
    fn to_call(&self) -> Result<Call, Error>;
}

/// Declares a method: documented parameters with their defaults.
///
/// Expands to the struct, its `Default`, `Clone`, `Debug`, `PartialEq`, serde with unknown fields refused, and
/// [`Method`] from the doc comments, of which every parameter needs one. Optional parameters are
/// `Option<…> = None`.
#[macro_export]
macro_rules! method {
    (
        $(#[doc = $about:literal])+
        $vis:vis struct $method:ident {
            $(
                $(#[doc = $doc:literal])+
                $field_vis:vis $field:ident: $kind:ty = $default:expr
            ),* $(,)?
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, $crate::serde::Serialize, $crate::serde::Deserialize)]
        #[serde(crate = "headwise_spec::serde", default, deny_unknown_fields)]
        $vis struct $method {
            $( $(#[doc = $doc])+ $field_vis $field: $kind, )*
        }

        #[allow(clippy::derivable_impls)]
        impl Default for $method {
            fn default() -> Self {
                Self { $( $field: $default ),* }
            }
        }

        impl $crate::Method for $method {
            const ABOUT: &'static str = concat!($($about, "\n"),+);
            const DOCS: &'static [(&'static str, &'static str)] =
                &[$( (stringify!($field), concat!($($doc),+)) ),*];
        }
    };
}

/// Declares a family: `pub enum CachePolicy: "cache" { full => Full, snapkv => SnapKv }`.
///
/// Expands to the enum with a variant per method, named as its type, and [`Family`], serde (text or an object
/// with `type`), `Display` and `FromStr` (the canonical text), and `From` each method.
#[macro_export]
macro_rules! family {
    (
        $(#[$attribute:meta])*
        $vis:vis enum $family:ident: $word:literal { $( $name:ident => $method:ident ),+ $(,)? }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq)]
        $vis enum $family {
            $( #[doc = concat!("`", stringify!($name), "`")] $method($method), )+
        }

        impl $crate::Family for $family {
            const FAMILY: &'static str = $word;
            const NAMES: &'static [&'static str] = &[$( stringify!($name) ),+];

            fn signature(name: &str) -> Option<$crate::Signature> {
                match name {
                    $( stringify!($name) => Some($crate::Signature::of::<$method>(stringify!($name))), )+
                    _ => None,
                }
            }

            fn name(&self) -> &'static str {
                match self {
                    $( Self::$method(_) => stringify!($name), )+
                }
            }

            fn deserialize_method<'de, D: $crate::serde::Deserializer<'de>>(
                name: &str,
                parameters: D,
            ) -> Result<Self, D::Error> {
                match name {
                    $( stringify!($name) => $crate::serde::Deserialize::deserialize(parameters).map(Self::$method), )+
                    _ => Err($crate::serde::de::Error::unknown_variant(name, Self::NAMES)),
                }
            }

            fn to_call(&self) -> Result<$crate::Call, $crate::Error> {
                match self {
                    $( Self::$method(method) => $crate::method_to_call(stringify!($name), method), )+
                }
            }
        }

        impl $crate::serde::Serialize for $family {
            fn serialize<S: $crate::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $crate::serialize_family(self, serializer)
            }
        }

        impl<'de> $crate::serde::Deserialize<'de> for $family {
            fn deserialize<D: $crate::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::deserialize_family(deserializer)
            }
        }

        impl std::fmt::Display for $family {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&$crate::to_text(self))
            }
        }

        impl std::str::FromStr for $family {
            type Err = $crate::Error;

            fn from_str(text: &str) -> Result<Self, $crate::Error> {
                $crate::from_text(text)
            }
        }

        $(
            impl From<$method> for $family {
                fn from(method: $method) -> Self {
                    Self::$method(method)
                }
            }
        )+
    };
}

/// The call of `name` with all parameters of `method`.
pub fn method_to_call<M: Method>(name: &'static str, method: &M) -> Result<Call, Error> {
    write_fields(name, method)
}

/// Serialises a member of a family as an object with `type`.
pub fn serialize_family<F: Family, S: Serializer>(method: &F, serializer: S) -> Result<S::Ok, S::Error> {
    let call = method.to_call().map_err(serde::ser::Error::custom)?;
    serializer.serialize_newtype_struct(CALL, &call)
}

/// Deserialises a member of a family from text or an object with `type`.
pub fn deserialize_family<'de, F: Family, D: Deserializer<'de>>(deserializer: D) -> Result<F, D::Error> {
    deserializer.deserialize_newtype_struct(CALL, FamilyVisitor(PhantomData))
}

/// Given an enum by the deserialiser of this crate, which keeps track of places, and the form of JSON by others.
struct FamilyVisitor<F>(PhantomData<F>);

impl<'de, F: Family> Visitor<'de> for FamilyVisitor<F> {
    type Value = F;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "a `{}` method", F::FAMILY)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<F, A::Error> {
        let (name, parameters): (String, _) = access.variant()?;
        parameters.newtype_variant_seed(MethodSeed { name, family: self.0 })
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<F, D::Error> {
        let call: Call = de::Deserialize::deserialize(deserializer)?;
        F::parse(&call).map_err(de::Error::custom)
    }
}

struct MethodSeed<F> {
    name: String,
    family: PhantomData<F>,
}

impl<'de, F: Family> DeserializeSeed<'de> for MethodSeed<F> {
    type Value = F;

    fn deserialize<D: Deserializer<'de>>(self, parameters: D) -> Result<F, D::Error> {
        F::deserialize_method(&self.name, parameters)
    }
}

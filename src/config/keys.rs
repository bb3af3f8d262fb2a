//! Owns: the macro that declares a config section, and the key table it fills. Each key is one line: documentation,
//! type, default, limit and whether it may change during a run.
//! Must not know: what any key does.
//! Invariant: a key's default, documentation and limit are written in one place only.

/// The type of a key's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    Integer,
    Float,
    Bool,
    Text,
    /// One of these names.
    Choice(&'static [&'static str]),
    /// A float, or a curve over steps.
    Curve,
    /// An integer, or a mixture of several.
    Mixture,
    /// A list of floats.
    FloatList,
}

impl KeyKind {
    /// Returns whether a value is written as a string.
    pub fn is_text(self) -> bool {
        matches!(self, KeyKind::Text | KeyKind::Choice(_))
    }

    /// Returns whether a value without a curve or mixture is an integer.
    pub fn is_integer(self) -> bool {
        matches!(self, KeyKind::Integer | KeyKind::Mixture)
    }

    /// Returns whether a value can be a single number.
    pub fn is_number(self) -> bool {
        self.is_integer() || matches!(self, KeyKind::Float | KeyKind::Curve)
    }

    /// Returns the values there are, if they can be listed.
    pub fn choices(self) -> &'static [&'static str] {
        match self {
            KeyKind::Bool => &["true", "false"],
            KeyKind::Choice(names) => names,
            _ => &[],
        }
    }
}

/// A type that a config key can have.
pub trait KeyType {
    const KIND: KeyKind;
}

macro_rules! key_types {
    ($($type:ty => $kind:ident),*) => { $(impl KeyType for $type { const KIND: KeyKind = KeyKind::$kind; })* };
}
key_types!(u32 => Integer, u64 => Integer, usize => Integer, f64 => Float, bool => Bool, String => Text,
    super::Curve => Curve, super::Mixture => Mixture, Vec<f64> => FloatList);

/// Values that a key allows, beyond what its type allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// Any value of the key's type.
    Any,
    /// Numbers from the first to the second, inclusive. For curves, every knot's value.
    Within(f64, f64),
    /// Finite numbers at or above this one.
    AtLeast(f64),
    /// Finite numbers strictly above this one.
    Above(f64),
}

impl Limit {
    /// Returns whether `number` is within the limit. NaN never is.
    pub fn allows(self, number: f64) -> bool {
        match self {
            Limit::Any => !number.is_nan(),
            Limit::Within(low, high) => (low..=high).contains(&number),
            Limit::AtLeast(low) => number >= low && number.is_finite(),
            Limit::Above(low) => number > low && number.is_finite(),
        }
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Limit::Any => write!(f, "any value of its type"),
            Limit::Within(low, high) => write!(f, "from {low} to {high}"),
            Limit::AtLeast(low) => write!(f, "at least {low}"),
            Limit::Above(low) => write!(f, "above {low}"),
        }
    }
}

/// Whether a key may change during a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutability {
    /// A new value takes effect at the next step boundary of a running run.
    Live,
    /// A new value takes effect in a new run only.
    Frozen,
}

/// An entry of the key table: one config key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConfigKey {
    pub section: &'static str,
    /// Name of the key within its section.
    pub name: &'static str,
    /// Other names that are read, and never written unless a file uses them already.
    pub aliases: &'static [&'static str],
    /// One paragraph of Markdown.
    pub doc: &'static str,
    pub kind: KeyKind,
    pub limit: Limit,
    pub mutability: Mutability,
}

impl ConfigKey {
    /// Returns the key's full name, `section.name`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// Returns whether `name` is the key's name within its section, or an alias.
    pub fn is_named(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }

    /// Returns what values the key allows, as Markdown.
    pub fn allowed(&self) -> String {
        let range = match self.limit {
            Limit::Any => String::new(),
            limit => format!(", {limit}"),
        };
        match self.kind {
            KeyKind::Bool | KeyKind::Choice(_) => {
                self.kind.choices().iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
            }
            KeyKind::Text => "text".into(),
            KeyKind::Integer => format!("whole number{range}"),
            KeyKind::Float => format!("number{range}"),
            KeyKind::Curve => format!("number or curve `[[step, value], …]`{range}"),
            KeyKind::Mixture => "whole number, or mixture `[[passes, probability], …]`".into(),
            KeyKind::FloatList => format!("list of numbers{range}"),
        }
    }

    /// Returns the alias that is in use, if there is one, or else the name.
    pub fn name_in(&self, is_used: impl Fn(&str) -> bool) -> &'static str {
        self.aliases.iter().find(|alias| is_used(alias)).unwrap_or(&self.name)
    }
}

/// Declares the sections: each a struct with serde and `Default`, and all entries of the key table.
macro_rules! sections {
    ($(
        $(#[doc = $about:literal])*
        $name:ident = $section:literal {
            $( $(#[doc = $doc:literal])+ $mutability:ident $field:ident $(| $alias:literal)? : $type:ty = $default:expr, $limit:expr; )*
        }
    )*) => {$(
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct $name {
            $( $(#[doc = $doc])+ $(#[serde(alias = $alias)])? pub $field: $type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        )*

        /// The key table, in sections.
        pub const KEYS: &[&[$crate::config::keys::ConfigKey]] = &[$(&[
            $( $crate::config::keys::ConfigKey {
                section: $section,
                name: stringify!($field),
                aliases: &[$($alias)?],
                doc: concat!($($doc, "\n",)+ $(" Alias: `", $alias, "`.\n")?),
                kind: <$type as $crate::config::keys::KeyType>::KIND,
                limit: $limit,
                mutability: $crate::config::keys::Mutability::$mutability,
            }, )*
        ],)*];
    };
}
pub(crate) use sections;

//! Owns: the macro that declares a config section, and the key table it fills: one line a key with its
//! documentation, type, default, limit and whether it may change during a run.
//! Must not know: what any key does.
//! Invariant: a key's default, documentation and limit stand nowhere else.

/// What values a key may take, beyond its type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// Whatever the type takes.
    Any,
    /// Numbers from the first to the second, both included. For curves: every knot's value.
    Within(f64, f64),
    /// Numbers at or above this one.
    AtLeast(f64),
    /// Numbers strictly above this one.
    Above(f64),
}

impl Limit {
    /// Whether `number` is allowed.
    pub fn allows(self, number: f64) -> bool {
        match self {
            Limit::Any => true,
            Limit::Within(low, high) => (low..=high).contains(&number),
            Limit::AtLeast(low) => number >= low && number.is_finite(),
            Limit::Above(low) => number > low && number.is_finite(),
        }
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Limit::Any => write!(f, "anything of its type"),
            Limit::Within(low, high) => write!(f, "from {low} to {high}"),
            Limit::AtLeast(low) => write!(f, "at least {low}"),
            Limit::Above(low) => write!(f, "above {low}"),
        }
    }
}

/// When a changed value can take hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// At the next step boundary of a running run.
    Live,
    /// Only in a new run.
    Frozen,
}

/// One config key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Key {
    /// The section it stands in, without brackets.
    pub section: &'static str,
    /// Its name in the section.
    pub name: &'static str,
    /// What it does, one paragraph.
    pub doc: &'static str,
    /// What values it may take.
    pub limit: Limit,
    /// When a changed value can take hold.
    pub change: Change,
}

/// Declares a section: a struct with serde and `Default`, and its rows of the key table.
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        $name:ident = $section:literal {
            $( $(#[doc = $doc:literal])+ $change:ident $field:ident : $type:ty = $default:expr, $limit:expr; )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        impl $name {
            /// The section's rows of the key table.
            pub const KEYS: &'static [$crate::config::keys::Key] = &[
                $( $crate::config::keys::Key {
                    section: $section,
                    name: stringify!($field),
                    doc: concat!($($doc, "\n"),+),
                    limit: $limit,
                    change: $crate::config::keys::Change::$change,
                }, )*
            ];
        }
    };
}
pub(crate) use section;

//! Owns: the splits of a dataset and how file names tell them.
//! Must not know: what is in the files.
//! Invariant: the names are those of the files; they never change.

use serde::{Deserialize, Serialize};

#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantNames,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Split {
    Train,
    Valid,
    Test,
}

impl Split {
    pub const ALL: [Self; 3] = [Self::Train, Self::Valid, Self::Test];

    /// Returns the name of the split, with which the file names of its shards start.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns the split whose name, or a common variant of it such as `dev`, starts this file name.
    pub(crate) fn from_name_prefix(name: &str) -> Option<Self> {
        let name = name.to_lowercase();
        let starts_with_any = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
        match () {
            () if starts_with_any(&["train"]) => Some(Self::Train),
            () if starts_with_any(&["val", "dev"]) => Some(Self::Valid),
            () if starts_with_any(&["test"]) => Some(Self::Test),
            () => None,
        }
    }
}

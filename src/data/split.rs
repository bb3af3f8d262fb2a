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

    /// Returns the name of the split, with which the names of the shards start that this program writes.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns the split that a file or folder name says: a word such as `train`, `val` or `test` between separators
    /// or digits, anywhere in the name. Fails on a name that says two.
    pub(crate) fn from_name(name: &str) -> std::result::Result<Option<Self>, [Self; 2]> {
        let name = name.to_lowercase();
        let words: Vec<&str> =
            name.split(|letter: char| !letter.is_alphabetic()).filter(|word| !word.is_empty()).collect();
        let held_out = words.windows(2).any(|pair| pair == ["held", "out"]).then_some(Self::Valid);
        let mut said = None;
        for split in words.iter().filter_map(|word| Self::from_word(word)).chain(held_out) {
            match said {
                Some(other) if other != split => return Err([other, split]),
                _ => said = Some(split),
            }
        }
        Ok(said)
    }

    fn from_word(word: &str) -> Option<Self> {
        match word {
            "train" | "training" | "trainset" => Some(Self::Train),
            "valid" | "validation" | "val" | "valset" | "dev" | "devset" | "eval" | "evaluation" | "heldout" => {
                Some(Self::Valid)
            }
            "test" | "testing" | "testset" => Some(Self::Test),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Split::{self, Test, Train, Valid};

    #[test]
    fn a_split_is_a_word_anywhere_in_the_name() {
        let cases = [
            ("train-00000-of-00002.parquet", Some(Train)),
            ("fineweb_train_000001.parquet", Some(Train)),
            ("corpus.TRAIN.0.parquet", Some(Train)),
            ("split=train", Some(Train)),
            ("train0.parquet", Some(Train)),
            ("validation-0.parquet", Some(Valid)),
            ("fineweb_val_000000.parquet", Some(Valid)),
            ("val_3.parquet", Some(Valid)),
            ("dev.parquet", Some(Valid)),
            ("eval-0.parquet", Some(Valid)),
            ("held_out.parquet", Some(Valid)),
            ("eval_validation.parquet", Some(Valid)),
            ("Test.parquet", Some(Test)),
            ("latest.parquet", None),
            ("constrain-1.parquet", None),
            ("retrieval.parquet", None),
            ("device.parquet", None),
            ("shard-1.parquet", None),
        ];
        for (name, split) in cases {
            assert_eq!(Split::from_name(name), Ok(split), "{name}");
        }
        assert_eq!(Split::from_name("training_test-0.parquet"), Err([Train, Test]));
        assert_eq!(Split::from_name("train_heldout.parquet"), Err([Train, Valid]));
    }
}

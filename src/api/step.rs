//! The six steps of a relocation and its end.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A step of a relocation, in the only order there is.
///
/// `COMPLETED` is the end, never a target: no fence, no cancel and no plan may name it.
/// The derived order is the order of the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Step {
    /// Bring the data from its source into the workspace.
    Uploading,
    /// Make the data ready for the target, and find what the target cannot hold.
    Preprocessing,
    /// Prove that the data is complete and right; the last task of this step must give evidence.
    Validating,
    /// Write the data to the target: the point of no return.
    Importing,
    /// Finish and check what was written.
    Postprocessing,
    /// Tell whoever has to know.
    Notifying,
    /// Everything is done.
    Completed,
}

impl Step {
    /// Every step that can run, in order; without [`Step::Completed`].
    pub const WORKING: [Self; 6] = [
        Self::Uploading,
        Self::Preprocessing,
        Self::Validating,
        Self::Importing,
        Self::Postprocessing,
        Self::Notifying,
    ];

    /// Every step that a fence or a cancel may name: all that can run but the first.
    pub const STOPPABLE: [Self; 5] =
        [Self::Preprocessing, Self::Validating, Self::Importing, Self::Postprocessing, Self::Notifying];

    /// The step after this one; [`Step::Completed`] is followed by itself.
    #[must_use]
    pub const fn next(self) -> Self {
        match self {
            Self::Uploading => Self::Preprocessing,
            Self::Preprocessing => Self::Validating,
            Self::Validating => Self::Importing,
            Self::Importing => Self::Postprocessing,
            Self::Postprocessing => Self::Notifying,
            Self::Notifying | Self::Completed => Self::Completed,
        }
    }

    /// The name as it stands in the API, always upper case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uploading => "UPLOADING",
            Self::Preprocessing => "PREPROCESSING",
            Self::Validating => "VALIDATING",
            Self::Importing => "IMPORTING",
            Self::Postprocessing => "POSTPROCESSING",
            Self::Notifying => "NOTIFYING",
            Self::Completed => "COMPLETED",
        }
    }

    /// The schema of a field that names any step; keeps the field's own description.
    pub(super) fn any_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": Self::WORKING.into_iter().chain([Self::Completed]).collect::<Vec<_>>() })
    }

    /// The schema of a field that names a step which can run.
    pub(super) fn working_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": Self::WORKING })
    }

    /// The schema of a field that names a step which can be fenced off.
    pub(super) fn stoppable_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": Self::STOPPABLE })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The text names no step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a step; the steps are UPLOADING, PREPROCESSING, VALIDATING, IMPORTING, POSTPROCESSING, NOTIFYING"
)]
pub struct UnknownStep(String);

impl FromStr for Step {
    type Err = UnknownStep;

    /// Reads a step that can run, in any case of letters.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::WORKING
            .into_iter()
            .find(|step| step.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownStep(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_each_other_in_the_order_of_their_values() {
        for pair in Step::WORKING.windows(2) {
            assert_eq!(pair[0].next(), pair[1]);
            assert!(pair[0] < pair[1]);
        }
        assert_eq!(Step::Notifying.next(), Step::Completed);
    }

    #[test]
    fn a_step_is_read_in_any_case_and_completed_is_no_target() {
        assert_eq!("importing".parse(), Ok(Step::Importing));
        assert!("COMPLETED".parse::<Step>().is_err());
    }
}

//! The table: each number with its goal, the bare client's number, the ratio, and the machine it was measured on.

use std::fmt::Write;
use std::path::Path;

use kube::Client;

use crate::shared::{machine, said_by};

/// One line of the table.
pub struct Row {
    quantity: String,
    goal: Option<Goal>,
    unit: &'static str,
    operator: f64,
    bare: Option<f64>,
}

enum Goal {
    AtMost(f64),
    /// At least this share of the bare client's number.
    Share(f64),
}

impl Row {
    /// A number with an upper bound.
    pub fn at_most(quantity: &str, bound: f64, operator: f64, unit: &'static str) -> Self {
        Self { goal: Some(Goal::AtMost(bound)), ..Self::told(quantity, operator, unit) }
    }

    /// A number that is to be a share of the bare client's.
    pub fn share(quantity: &str, share: f64, operator: f64, unit: &'static str) -> Self {
        Self { goal: Some(Goal::Share(share)), ..Self::told(quantity, operator, unit) }
    }

    /// A number without a goal.
    pub fn told(quantity: &str, operator: f64, unit: &'static str) -> Self {
        Self { quantity: quantity.to_owned(), goal: None, unit, operator, bare: None }
    }

    /// The bare client's number.
    pub fn beside(self, bare: f64) -> Self {
        Self { bare: Some(bare), ..self }
    }

    fn is_met(&self) -> Option<bool> {
        Some(match self.goal.as_ref()? {
            Goal::AtMost(bound) => self.operator <= *bound,
            Goal::Share(share) => self.operator >= share * self.bare?,
        })
    }

    fn line(&self) -> String {
        let unit = self.unit;
        let goal = match self.goal {
            None => String::new(),
            Some(Goal::AtMost(bound)) => format!("≤ {bound}{unit}"),
            Some(Goal::Share(share)) => format!("≥ {:.0} % of the bare client", share * 100.0),
        };
        let met = match self.is_met() {
            None => "",
            Some(true) => "yes",
            Some(false) => "**no**",
        };
        let bare = self.bare.map(|bare| format!("{}{unit}", digits(bare))).unwrap_or_default();
        let divisor = self.bare.filter(|bare| *bare > 0.0);
        let ratio = divisor.map(|bare| format!("{:.2}", self.operator / bare)).unwrap_or_default();
        format!("| {} | {goal} | {}{unit} | {bare} | {ratio} | {met} |\n", self.quantity, digits(self.operator))
    }
}

/// As many digits as mean something.
fn digits(number: f64) -> String {
    if number.fract() == 0.0 || number >= 100.0 {
        format!("{number:.0}")
    } else {
        format!("{number:.3}")[..5].to_owned()
    }
}

/// The whole report as Markdown.
pub async fn report(client: &Client, kwok: &Path, sizes: &str, rows: &[Row]) -> String {
    let mut text = String::from(
        "# What the benchmark measured\n\nWritten by `make bench-record`; [benchmarks.md](../benchmarks.md) explains each line.\n\n",
    );
    text.push_str(
        "| quantity | goal | operator | bare client | ratio | met |\n| --- | --- | ---: | ---: | ---: | --- |\n",
    );
    for row in rows {
        text.push_str(&row.line());
    }
    let server = client.apiserver_version().await.map(|version| version.git_version).unwrap_or_default();
    let _ = write!(
        text,
        "\n- sizes: {sizes}\n- machine: {}\n- date: {}\n- Kubernetes {server}, {}, relocation-operator {} ({}), {}\n",
        machine(),
        said_by("date", &["--utc", "+%Y-%m-%d %H:%M UTC"]),
        said_by(&kwok.to_string_lossy(), &["--version"]),
        env!("CARGO_PKG_VERSION"),
        said_by("git", &["describe", "--always", "--dirty"]),
        said_by("uname", &["-sr"]),
    );
    text
}

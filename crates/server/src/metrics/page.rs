//! docs/reference/metrics.md, written by what writes the metrics themselves.

use std::fmt::Write as _;

use super::family::{Family, Values};
use super::requests::Requests;
use super::{Readings, families};

const HEAD: &str = "\
# Metrics

<!-- cargo run -p cresset-server --example metrics -->

`GET /metrics` on the plain HTTP port (`listen.http`, on loopback by default), in OpenMetrics 1.0. Beside it,
`/healthz` answers 200 while the process runs; `/readyz` answers 200 while messages are taken, and 503, with the
reason as its body, while they are not: the server is ending, the disk is full, or the store is being opened
again. The latter two heal by themselves.

Labels have values from closed lists, which stand in the code: there is none for a project, a device, a token,
a topic or an address, so that the number of time series does not grow with what is served. A counter's samples
end in `_total`; a histogram's in `_bucket`, `_sum` and `_count`; an info's in `_info`. All counters begin at 0
when the server starts.

";

/// The page, whole.
pub fn metrics_page() -> String {
    let readings = Readings {
        door: crate::http::door::Door::new(&crate::config::Limits::default()).snapshot(),
        sends: cresset_api::Sends::default().snapshot(),
        ..Readings::default()
    };
    let mut page = HEAD.to_owned();
    page.push_str("| name | type | unit | labels | what it says |\n| --- | --- | --- | --- | --- |\n");
    for family in families::families(&readings) {
        line(&mut page, &family);
    }
    page.push_str("\n`method` is one of ");
    let methods: Vec<_> = Requests::default().methods().map(|method| format!("`{method}`")).collect();
    page.push_str(&methods.join(", "));
    page.push_str(
        ".\n`status` is the number of an HTTP status, or `other`. What never happened has no sample.\n",
    );
    page
}

fn line(page: &mut String, family: &Family) {
    let unit = family.unit.unwrap_or("");
    let (name, kind, labels) = (family.full_name(), family.kind(), labels(family));
    // Writing into a string does not fail.
    let _ = writeln!(page, "| `{name}` | {kind} | {unit} | {labels} | {} |", family.help);
}

/// Their names; and their values, where all of them are known from the start.
fn labels(family: &Family) -> String {
    let values = match &family.values {
        Values::Counter(samples) => samples.iter().filter_map(|(labels, _)| labels.first()).collect(),
        _ => Vec::new(),
    };
    let values: Vec<_> = values.iter().map(|(_, value)| format!("`{value}`")).collect();
    let names: Vec<_> = family.labels.iter().map(|name| format!("`{name}`")).collect();
    match values.is_empty() {
        true => names.join(", "),
        false => format!("{}: {}", names.join(", "), values.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_in_docs_is_what_the_code_says() {
        let file = include_str!("../../../../docs/reference/metrics.md");
        let again = "cargo run -p cresset-server --example metrics";
        assert!(file == super::metrics_page(), "docs/reference/metrics.md is old; write it anew: {again}");
    }
}

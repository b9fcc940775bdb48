//! Everything we are linked with may be used, changed and given on by anybody.

use serde_json::Value;

use super::Finding;

/// Permissive licences, by their SPDX names.
const PERMISSIVE: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "Unlicense",
    "Zlib",
];

/// What takes nothing away from a licence.
const EXCEPTIONS: [&str; 1] = ["LLVM-exception"];

pub(super) fn check(metadata: &Value) -> Vec<Finding> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    packages
        .filter_map(|package| {
            let name = package["name"].as_str().unwrap_or_default();
            let Some(licence) = package["license"].as_str() else {
                return Some(Finding::new(name, "does not name its licence"));
            };
            let why = || Finding::new(name, format!("its licence is not one we take: {licence}"));
            (!is_permissive(licence)).then(why)
        })
        .collect()
}

/// Whether an SPDX expression lets us choose only permissive licences. What cannot be read is not.
fn is_permissive(expression: &str) -> bool {
    // Older crates write a slash for OR.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = Words(spaced.split_whitespace().collect());
    let permissive = words.either();
    permissive == Some(true) && words.0.is_empty()
}

/// The words not read yet. AND binds tighter than OR, WITH tighter than both (SPDX, annex D).
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn either(&mut self) -> Option<bool> {
        let mut permissive = self.all()?;
        while self.take("OR") {
            permissive |= self.all()?;
        }
        Some(permissive)
    }

    fn all(&mut self) -> Option<bool> {
        let mut permissive = self.one()?;
        while self.take("AND") {
            permissive &= self.one()?;
        }
        Some(permissive)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let inner = self.either()?;
            return self.take(")").then_some(inner);
        }
        let permissive = PERMISSIVE.contains(&self.next()?);
        if self.take("WITH") {
            return Some(EXCEPTIONS.contains(&self.next()?) && permissive);
        }
        Some(permissive)
    }

    fn next(&mut self) -> Option<&'a str> {
        (!self.0.is_empty()).then(|| self.0.remove(0))
    }

    fn take(&mut self, word: &str) -> bool {
        let here = self.0.first() == Some(&word);
        if here {
            self.0.remove(0);
        }
        here
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_understood() {
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "Apache-2.0 / MIT",
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
            "MIT OR Apache-2.0 OR LGPL-2.1-or-later",
            "Apache-2.0 OR GPL-2.0-only",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "ISC AND (Apache-2.0 OR ISC) AND Apache-2.0 AND MIT AND BSD-3-Clause",
        ] {
            assert!(is_permissive(good), "{good}");
        }
        for bad in [
            "GPL-3.0-only",
            "MIT AND GPL-3.0-only",
            "(MIT OR GPL-3.0-only) AND AGPL-3.0",
            "MIT WITH some-exception",
            "MIT OR",
            "(MIT",
            "MIT Apache-2.0",
            "",
        ] {
            assert!(!is_permissive(bad), "{bad}");
        }
    }
}

//! `google.protobuf.Struct`: the free-form JSON inside a message (`webpush.notification`,
//! `apns.payload`).

/// A JSON object in the order in which it was written; a name occurs once.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Struct(Vec<(String, Value)>);

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Number(f64),
    String(String),
    List(Vec<Value>),
    Struct(Struct),
}

impl Struct {
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }

    /// Sets a field; the last value of a name wins.
    pub fn insert(&mut self, name: impl Into<String>, value: Value) {
        let name = name.into();
        match self.0.iter_mut().find(|(n, _)| *n == name) {
            Some(field) => field.1 = value,
            None => self.0.push((name, value)),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<N: Into<String>> FromIterator<(N, Value)> for Struct {
    fn from_iter<I: IntoIterator<Item = (N, Value)>>(fields: I) -> Self {
        Self(last_wins(fields.into_iter().map(|(name, value)| (name.into(), value)).collect()))
    }
}

/// Leaves each name once, where it stood first, with the value it had last: what JSON objects with
/// duplicate keys mean to FCM (`protocol/http-v1.md` §3). Never quadratic: objects come from senders.
pub fn last_wins<N: AsRef<str> + Ord, V>(fields: Vec<(N, V)>) -> Vec<(N, V)> {
    if all_differ(&fields) {
        return fields;
    }
    let mut by_name: Vec<(usize, (N, V))> = fields.into_iter().enumerate().collect();
    // Stable: among equal names the order of the input is kept.
    by_name.sort_by(|(_, (a, _)), (_, (b, _))| a.cmp(b));
    by_name.dedup_by(|(_, later), (_, kept)| {
        let same = later.0 == kept.0;
        if same {
            std::mem::swap(&mut later.1, &mut kept.1);
        }
        same
    });
    by_name.sort_by_key(|(place, _)| *place);
    by_name.into_iter().map(|(_, field)| field).collect()
}

fn all_differ<N: AsRef<str>, V>(fields: &[(N, V)]) -> bool {
    /// Up to here comparing every pair is quicker than sorting.
    const FEW: usize = 12;
    let name = |i: usize| fields[i].0.as_ref();
    if fields.len() <= FEW {
        return (1..fields.len()).all(|i| (0..i).all(|j| name(i) != name(j)));
    }
    let mut names: Vec<&str> = (0..fields.len()).map(name).collect();
    names.sort_unstable();
    names.windows(2).all(|pair| pair[0] != pair[1])
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_name_given_twice_the_last_value_stands_in_the_first_place() {
        for filler in [0, 40] {
            let mut fields = vec![("b".to_owned(), 1), ("a".to_owned(), 2), ("b".to_owned(), 3)];
            fields.extend((0..filler).map(|i| (format!("x{i}"), i)));
            fields.push(("b".to_owned(), 4));
            let kept = last_wins(fields);
            assert_eq!(kept[..2], [("b".to_owned(), 4), ("a".to_owned(), 2)]);
            assert_eq!(kept.len(), 2 + filler as usize);
        }
    }
}

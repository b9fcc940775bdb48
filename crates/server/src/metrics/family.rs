//! A metric as a value: what it is called, what it says, and what it is now.

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// Labels of a sample. Their values are words of the code: no project, device, token or topic is ever
/// among them, so that there are no more samples tomorrow than today.
pub(crate) type Labels = Vec<(&'static str, &'static str)>;

/// Metrics of one name.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    /// Without the unit, which follows it, and without the suffix of its kind.
    pub(crate) name: &'static str,
    /// `None` for what has none: yes or no, and texts.
    pub(crate) unit: Option<&'static str>,
    pub(crate) help: &'static str,
    pub(crate) labels: &'static [&'static str],
    pub(crate) values: Values,
}

#[derive(Clone, Debug)]
pub(crate) enum Values {
    Counter(Vec<(Labels, f64)>),
    Gauge(Vec<(Labels, f64)>),
    Histogram(Vec<(Labels, Histogram)>),
    Info(Labels),
}

/// Times by classes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    pub(crate) sum_seconds: f64,
    /// The upper bound of each class in seconds, and how many are in it and in no lower one.
    pub(crate) classes: Vec<(f64, u64)>,
}

impl Histogram {
    /// Of counts a class, the last of which has no upper bound.
    pub(crate) fn of(bounds_micros: &[u64], counts: &[u64], sum_micros: u64) -> Self {
        let bounds = bounds_micros.iter().map(|micros| *micros as f64 / 1e6);
        let classes = bounds.chain([f64::INFINITY]).zip(counts.iter().copied()).collect();
        Self { sum_seconds: sum_micros as f64 / 1e6, classes }
    }
}

impl Family {
    pub(crate) fn counter(
        name: &'static str,
        unit: &'static str,
        help: &'static str,
        value: impl Into<Total>,
    ) -> Self {
        let values = Values::Counter(vec![(Labels::new(), value.into().0)]);
        Self { name, unit: Some(unit), help, labels: &[], values }
    }

    pub(crate) fn gauge(
        name: &'static str,
        unit: &'static str,
        help: &'static str,
        value: impl Into<Total>,
    ) -> Self {
        let values = Values::Gauge(vec![(Labels::new(), value.into().0)]);
        Self { name, unit: Some(unit), help, labels: &[], values }
    }

    /// Counters that differ by one label.
    pub(crate) fn counters_by(
        name: &'static str,
        unit: &'static str,
        help: &'static str,
        label: &'static [&'static str; 1],
        counts: impl IntoIterator<Item = (&'static str, u64)>,
    ) -> Self {
        let samples = counts.into_iter().map(|(value, count)| (vec![(label[0], value)], count as f64));
        Self { name, unit: Some(unit), help, labels: label, values: Values::Counter(samples.collect()) }
    }

    /// 1 for yes, 0 for no.
    pub(crate) fn flag(name: &'static str, help: &'static str, value: bool) -> Self {
        let values = Values::Gauge(vec![(Labels::new(), f64::from(u8::from(value)))]);
        Self { name, unit: None, help, labels: &[], values }
    }

    /// As it stands in its HELP line.
    pub(crate) fn full_name(&self) -> String {
        match self.unit {
            Some(unit) => format!("{}_{unit}", self.name),
            None => self.name.to_owned(),
        }
    }

    pub(crate) fn kind(&self) -> String {
        self.metric_type().as_str().to_owned()
    }

    fn metric_type(&self) -> MetricType {
        match self.values {
            Values::Counter(_) => MetricType::Counter,
            Values::Gauge(_) => MetricType::Gauge,
            Values::Histogram(_) => MetricType::Histogram,
            Values::Info(_) => MetricType::Info,
        }
    }

    pub(crate) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let unit = self.unit.map(|unit| Unit::Other(unit.to_owned()));
        let mut encoder =
            encoder.encode_descriptor(self.name, self.help, unit.as_ref(), self.metric_type())?;
        match &self.values {
            Values::Counter(samples) => each(&mut encoder, samples, |mut encoder, value| {
                encoder.encode_counter::<NoLabelSet, _, f64>(value, None)
            }),
            Values::Gauge(samples) => {
                each(&mut encoder, samples, |mut encoder, value| encoder.encode_gauge(value))
            }
            Values::Histogram(samples) => each(&mut encoder, samples, |mut encoder, histogram| {
                let count = histogram.classes.iter().map(|(_, count)| count).sum();
                encoder.encode_histogram::<NoLabelSet>(histogram.sum_seconds, count, &histogram.classes, None)
            }),
            Values::Info(labels) => encoder.encode_info(labels),
        }
    }
}

fn each<T>(
    encoder: &mut MetricEncoder<'_>,
    samples: &[(Labels, T)],
    write: impl Fn(MetricEncoder<'_>, &T) -> std::fmt::Result,
) -> std::fmt::Result {
    for (labels, value) in samples {
        write(encoder.encode_family(labels)?, value)?;
    }
    Ok(())
}

/// A number of either kind.
pub(crate) struct Total(f64);

impl From<u64> for Total {
    fn from(count: u64) -> Self {
        Self(count as f64)
    }
}

impl From<f64> for Total {
    fn from(value: f64) -> Self {
        Self(value)
    }
}

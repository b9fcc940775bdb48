//! Endpoints as clients give them.

use cresset_outbound::webpush::Endpoint;

/// Any text is an endpoint or none. What is one leads to a name, says the same again, and can be put into
/// a request as it is.
pub(crate) fn endpoint(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let Ok(endpoint) = text.parse::<Endpoint>() else { return };
    assert!(endpoint.host().parse::<std::net::IpAddr>().is_err());
    assert!(endpoint.host().bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)));
    assert!(endpoint.path().starts_with('/') && text.len() <= 2_048);
    assert_eq!(endpoint.to_string().parse(), Ok(endpoint.clone()));
    let uri: http::Uri = endpoint.to_string().parse().expect("a URI");
    assert_eq!(uri.host(), Some(endpoint.host()));
    assert_eq!(uri.path_and_query().map(|path| path.as_str()), Some(endpoint.path()));
}

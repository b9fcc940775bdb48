//! Check-in, both ways.

use cresset_wire::checkin::{AndroidCheckinRequest, AndroidCheckinResponse};

/// Any bytes are a check-in or an error; what was read is read the same when it is written again, and
/// an identity has two halves.
pub(crate) fn checkin(input: &[u8]) {
    if let Ok(request) = AndroidCheckinRequest::parse(input) {
        assert!(request.identity().is_none_or(|(device, token)| device != 0 && token != 0));
        assert_eq!(AndroidCheckinRequest::parse(&request.to_bytes()), Ok(request));
    }
    if let Ok(response) = AndroidCheckinResponse::parse(input) {
        assert_eq!(AndroidCheckinResponse::parse(&response.to_bytes()), Ok(response));
    }
}

use proptest::prelude::*;

use super::{Client, List, fed, lists, repaired, request};

fn extra_fields() -> impl Strategy<Value = List> {
    let field = ("[a-z-]{1,12}", "[ -~]{0,40}").prop_map(|(n, v)| (n.into_bytes(), v.into_bytes()));
    proptest::collection::vec(field, 0..8)
}

fn requests() -> impl Strategy<Value = Vec<List>> {
    let request = ("/[a-z]{0,8}", extra_fields()).prop_map(|(path, extra)| {
        let mut fields = request("https:", &path);
        fields.extend(extra);
        fields
    });
    proptest::collection::vec(request, 1..8)
}

fn client_of(requests: &[List]) -> Vec<u8> {
    let mut client = Client::new();
    for (i, fields) in requests.iter().enumerate() {
        client.request(2 * i as u32 + 1, fields, b"{\"message\": {}}");
    }
    client.bytes
}

fn with_scheme(mut requests: Vec<List>, scheme: &str) -> Vec<List> {
    requests.iter_mut().for_each(|fields| fields[2].1 = scheme.as_bytes().to_vec());
    requests
}

proptest! {
    #[test]
    fn mended_blocks_decode_to_the_mended_lists(requests in requests()) {
        let out = repaired(&client_of(&requests));
        prop_assert_eq!(lists(&out), with_scheme(requests, "https"));
    }

    #[test]
    fn chunks_make_no_difference(
        requests in requests(),
        chunks in proptest::collection::vec(1..40usize, 1..10),
        flip in any::<prop::sample::Index>(),
        byte: Option<u8>,
    ) {
        let mut bytes = client_of(&requests);
        if let Some(byte) = byte {
            let at = flip.index(bytes.len());
            bytes[at] = byte;
        }
        prop_assert_eq!(fed(&bytes, &chunks), fed(&bytes, &[usize::MAX]));
    }

    #[test]
    fn well_formed_connections_are_untouched(requests in requests()) {
        let bytes = client_of(&with_scheme(requests, "https"));
        prop_assert_eq!(fed(&bytes, &[13]), (bytes, Ok(()), true));
    }

    #[test]
    fn any_bytes_are_taken_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), mending: bool) {
        let mut all = Client::new();
        if mending {
            all.request(1, &request("https:", "/"), b"");
        }
        all.bytes.extend(&bytes);
        let _ = fed(&all.bytes, &[11]);
        let _ = fed(&bytes, &[usize::MAX]);
    }
}

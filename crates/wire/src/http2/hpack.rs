//! Header compression (RFC 7541): all of reading, and as much of writing as needs no memory.

use std::collections::VecDeque;

use super::huffman;

/// What the decoder's table may hold: the default of SETTINGS_HEADER_TABLE_SIZE, which a server
/// that uses [`Repair`](super::Repair) must not change (RFC 9113 §6.5.2).
const TABLE_SIZE: usize = 4096;

/// Added to name and value when sizes are counted (RFC 7541 §4.1).
const ENTRY_OVERHEAD: usize = 32;

/// The largest list that is decoded, counted as RFC 7541 §4.1 counts. A block of a few bytes can stand
/// for megabytes. Cresset's own bound; four times what HTTP stacks admit by default (16 KiB).
const MAX_LIST: usize = 64 * 1024;

/// The largest integer read; more is no index, no length and no table size of this server.
const MAX_INTEGER: usize = 1 << 24;

/// A block that cannot be decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Undecodable;

type Result<T> = std::result::Result<T, Undecodable>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: Vec<u8>,
    pub(super) value: Vec<u8>,
    /// Sent as "never indexed": it must stay so (RFC 7541 §6.2.3).
    pub(super) sensitive: bool,
}

impl Field {
    fn size(&self) -> usize {
        self.name.len() + self.value.len() + ENTRY_OVERHEAD
    }
}

/// The reading end of one direction of a connection.
pub(super) struct Decoder {
    /// The dynamic table, newest first.
    table: VecDeque<Field>,
    size: usize,
    max_size: usize,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self { table: VecDeque::new(), size: 0, max_size: TABLE_SIZE }
    }

    /// Decodes one whole block. After an error the decoder is of no further use.
    pub(super) fn decode(&mut self, block: &[u8]) -> Result<Vec<Field>> {
        let mut input = Input(block);
        let mut fields = Vec::new();
        let mut list_size = 0;
        while let Some(first) = input.peek() {
            if first & 0xe0 == 0x20 {
                // Only at the beginning of a block (RFC 7541 §4.2).
                if !fields.is_empty() {
                    return Err(Undecodable);
                }
                self.resize(input.integer(5)?)?;
                continue;
            }
            let field = self.field(first, &mut input)?;
            list_size += field.size();
            if list_size > MAX_LIST {
                return Err(Undecodable);
            }
            fields.push(field);
        }
        Ok(fields)
    }

    /// One representation (RFC 7541 §6.1, §6.2).
    fn field(&mut self, first: u8, input: &mut Input<'_>) -> Result<Field> {
        if first & 0x80 != 0 {
            let index = input.integer(7)?;
            return self.lookup(index);
        }
        let incremental = first & 0x40 != 0;
        let index = input.integer(if incremental { 6 } else { 4 })?;
        let name = if index == 0 { input.string()? } else { self.lookup(index)?.name };
        let sensitive = !incremental && first & 0x10 != 0;
        let field = Field { name, value: input.string()?, sensitive };
        if incremental {
            self.insert(field.clone());
        }
        Ok(field)
    }

    /// The static table first, then the dynamic one, counted from 1 (RFC 7541 §2.3.3).
    fn lookup(&self, index: usize) -> Result<Field> {
        let index = index.checked_sub(1).ok_or(Undecodable)?;
        match STATIC_TABLE.get(index) {
            Some((name, value)) => Ok(Field {
                name: name.as_bytes().to_vec(),
                value: value.as_bytes().to_vec(),
                sensitive: false,
            }),
            None => self.table.get(index - STATIC_TABLE.len()).cloned().ok_or(Undecodable),
        }
    }

    fn insert(&mut self, field: Field) {
        self.size += field.size();
        self.table.push_front(field);
        self.evict();
    }

    fn resize(&mut self, max_size: usize) -> Result<()> {
        if max_size > TABLE_SIZE {
            return Err(Undecodable);
        }
        self.max_size = max_size;
        self.evict();
        Ok(())
    }

    fn evict(&mut self) {
        while self.size > self.max_size
            && let Some(oldest) = self.table.pop_back()
        {
            self.size -= oldest.size();
        }
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Undecodable)?;
        self.0 = rest;
        Ok(taken)
    }

    /// An integer that begins in the low `prefix` bits of the next byte (RFC 7541 §5.1).
    fn integer(&mut self, prefix: u8) -> Result<usize> {
        let mask = (1 << prefix) - 1;
        let mut value = usize::from(self.take(1)?[0]) & mask;
        if value < mask {
            return Ok(value);
        }
        // Four more bytes hold all that is accepted, leading zeros included.
        for shift in [0, 7, 14, 21] {
            let byte = self.take(1)?[0];
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return if value <= MAX_INTEGER { Ok(value) } else { Err(Undecodable) };
            }
        }
        Err(Undecodable)
    }

    fn string(&mut self) -> Result<Vec<u8>> {
        let huffman = self.peek().ok_or(Undecodable)? & 0x80 != 0;
        let len = self.integer(7)?;
        let raw = self.take(len)?;
        if huffman { huffman::decode(raw).ok_or(Undecodable) } else { Ok(raw.to_vec()) }
    }
}

/// Encodes a list so that neither end's dynamic table is touched: indices of the static table and
/// literals without indexing only.
pub(super) fn encode(fields: &[Field]) -> Vec<u8> {
    let mut block = Vec::with_capacity(fields.iter().map(Field::size).sum());
    for field in fields {
        let named = STATIC_TABLE.iter().position(|(name, _)| name.as_bytes() == field.name);
        let whole = STATIC_TABLE.iter().position(|(name, value)| {
            name.as_bytes() == field.name && value.as_bytes() == field.value && !field.sensitive
        });
        if let Some(index) = whole {
            put_integer(&mut block, 0x80, 7, index + 1);
            continue;
        }
        let kind = if field.sensitive { 0x10 } else { 0x00 };
        put_integer(&mut block, kind, 4, named.map_or(0, |index| index + 1));
        if named.is_none() {
            put_string(&mut block, &field.name);
        }
        put_string(&mut block, &field.value);
    }
    block
}

fn put_string(block: &mut Vec<u8>, text: &[u8]) {
    put_integer(block, 0, 7, text.len());
    block.extend_from_slice(text);
}

fn put_integer(block: &mut Vec<u8>, kind: u8, prefix: u8, value: usize) {
    let mask = (1 << prefix) - 1;
    if value < mask {
        block.push(kind | value as u8);
        return;
    }
    block.push(kind | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        block.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    block.push(rest as u8);
}

/// RFC 7541 Appendix A.
const STATIC_TABLE: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field(name: &str, value: &str) -> Field {
        Field { name: name.into(), value: value.into(), sensitive: false }
    }

    #[test]
    fn requests_of_the_rfc_are_decoded_one_after_another() {
        // RFC 7541 C.4: three requests with Huffman coding over one table.
        let mut decoder = Decoder::new();
        let first = [
            0x82, 0x86, 0x84, 0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4,
            0xff,
        ];
        let common = [
            field(":method", "GET"),
            field(":scheme", "http"),
            field(":path", "/"),
            field(":authority", "www.example.com"),
        ];
        assert_eq!(decoder.decode(&first).unwrap(), common);
        let second = [0x82, 0x86, 0x84, 0xbe, 0x58, 0x86, 0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf];
        let with_cache = [&common[..], &[field("cache-control", "no-cache")]].concat();
        assert_eq!(decoder.decode(&second).unwrap(), with_cache);
        assert_eq!(decoder.size, 110, "as the RFC counts it");
    }

    #[test]
    fn what_would_grow_without_bound_is_an_error() {
        // A literal of 4,000 bytes put into the table, then named again and again.
        let mut bomb = vec![0x40];
        put_string(&mut bomb, b"n");
        put_string(&mut bomb, &[b'v'; 4000]);
        bomb.extend([0xbe; 60_000]);
        assert_eq!(Decoder::new().decode(&bomb), Err(Undecodable));
        for wrong in [
            &[0x80][..],                        // index 0
            &[0xbe],                            // nothing there
            &[0x3f, 0xe2, 0x1f],                // a table of 4,097 bytes
            &[0x82, 0x20],                      // resized after a field
            &[0x7f, 0xff, 0xff, 0xff, 0xff, 1], // an integer of six bytes
            &[0x00, 0x05, b'a'],                // a string that ends early
        ] {
            assert_eq!(Decoder::new().decode(wrong), Err(Undecodable), "{wrong:x?}");
        }
    }

    fn fields() -> impl Strategy<Value = Vec<Field>> {
        let name = prop_oneof!["[a-z-]{0,10}", Just(":path".to_owned()), Just("te".to_owned())];
        let value = prop_oneof![".{0,20}", Just("/".to_owned()), "x{120,300}"];
        let field = (name, value, any::<bool>()).prop_map(|(name, value, sensitive)| Field {
            name: name.into_bytes(),
            value: value.into_bytes(),
            sensitive,
        });
        proptest::collection::vec(field, 0..20)
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded_and_leaves_no_trace(fields in fields()) {
            let mut decoder = Decoder::new();
            prop_assert_eq!(decoder.decode(&encode(&fields)), Ok(fields));
            prop_assert_eq!(decoder.size, 0);
        }

        /// The other decoder takes more (lists without bound, resizing anywhere), but refuses a
        /// resizing at the end.
        #[test]
        fn what_is_decoded_is_what_another_decoder_reads(
            blocks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 1..4),
        ) {
            let (mut ours, mut theirs) = (Decoder::new(), loona_hpack::Decoder::new());
            theirs.set_max_allowed_table_size(TABLE_SIZE);
            for block in &blocks {
                let Ok(fields) = ours.decode(block) else { break };
                match theirs.decode(block) {
                    Ok(expected) => {
                        let read: Vec<_> = fields.into_iter().map(|f| (f.name, f.value)).collect();
                        prop_assert_eq!(read, expected);
                    }
                    Err(loona_hpack::decoder::DecoderError::SizeUpdateAtEnd) => break,
                    Err(e) => prop_assert!(false, "refused by the other: {e:?}"),
                }
            }
        }

        #[test]
        fn compressed_strings_are_read_as_another_decoder_reads_them(
            coded in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut block = vec![0x00, 0x01, b'n'];
            put_integer(&mut block, 0x80, 7, coded.len());
            block.extend(&coded);
            let ours = Decoder::new().decode(&block).map(|mut fields| fields.remove(0).value);
            let theirs = loona_hpack::Decoder::new().decode(&block).map(|mut fields| fields.remove(0).1);
            prop_assert_eq!(ours.ok(), theirs.ok());
        }
    }
}

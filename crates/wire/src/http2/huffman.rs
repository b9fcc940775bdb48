//! HPACK's string compression, the reading half (RFC 7541 §5.2, Appendix B).
//!
//! The code is canonical: codes of one length are consecutive numbers in the order of their
//! symbols, so the lengths are all there is to know. Decoding compares the next bits with the first
//! code of each length, and needs no tree.

/// Length in bits of each byte's code (RFC 7541 Appendix B); the last is the end of the string.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26, 30,
];

const EOS: u16 = 256;
const SHORTEST: usize = 5;
const LONGEST: usize = 30;

/// Where the codes of each length begin.
struct Codes {
    /// The symbols, by length and then by value.
    symbols: [u16; 257],
    /// Per length: its first code, aligned to the left of 32 bits, and that code's place in `symbols`.
    first: [(u32, usize); LONGEST + 1],
}

const CODES: Codes = build();

const fn build() -> Codes {
    let mut codes = Codes { symbols: [0; 257], first: [(0, 0); LONGEST + 1] };
    let (mut code, mut place, mut length) = (0u32, 0, SHORTEST);
    while length <= LONGEST {
        codes.first[length] = (code << (32 - length), place);
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                codes.symbols[place] = symbol as u16;
                place += 1;
                code += 1;
            }
            symbol += 1;
        }
        code <<= 1;
        length += 1;
    }
    codes
}

/// The text of a compressed string; `None` where RFC 7541 §5.2 asks for an error.
pub(super) fn decode(coded: &[u8]) -> Option<Vec<u8>> {
    // The shortest code has five bits.
    let mut text = Vec::with_capacity(coded.len() * 8 / SHORTEST);
    let mut bytes = coded.iter();
    let (mut window, mut held) = (0u64, 0usize);
    loop {
        while held <= 32 {
            let Some(byte) = bytes.next() else { break };
            window |= u64::from(*byte) << (56 - held);
            held += 8;
        }
        // What lies behind the end reads as ones, as padding must.
        let bits = (window >> 32) as u32 | u32::MAX.checked_shr(held as u32).unwrap_or(0);
        let (symbol, length) = next_symbol(bits);
        if length > held {
            // Padding: fewer than eight bits, all of them ones.
            return (held < 8 && bits == u32::MAX).then_some(text);
        }
        if symbol == EOS {
            return None;
        }
        text.push(symbol as u8);
        window <<= length;
        held -= length;
    }
}

fn next_symbol(bits: u32) -> (u16, usize) {
    let mut length = SHORTEST;
    while length < LONGEST && bits >= end_of(length) {
        length += 1;
    }
    let (first, place) = CODES.first[length];
    let offset = (bits - first) >> (32 - length);
    (CODES.symbols[place + offset as usize], length)
}

/// The first code that is longer than `length`, as 32 bits: codes grow with their length.
fn end_of(length: usize) -> u32 {
    CODES.first[length + 1].0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_the_rfc_are_decoded() {
        // RFC 7541 C.4.1, C.4.2, C.4.3, C.6.1.
        for (coded, text) in [
            (
                &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff][..],
                "www.example.com",
            ),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf], "custom-value"),
            (&[0x64, 0x02], "302"),
            (&[], ""),
        ] {
            assert_eq!(decode(coded).as_deref(), Some(text.as_bytes()));
        }
    }

    #[test]
    fn wrong_padding_and_the_end_of_string_symbol_are_errors() {
        for wrong in [&[0x18][..], &[0x64, 0x02, 0xff], &[0xff; 4], &[0xff], &[0xff, 0xff]] {
            assert_eq!(decode(wrong), None, "{wrong:x?}");
        }
    }
}

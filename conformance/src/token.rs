//! Tokens: a program as one word, to be pasted into a report and run again.
//!
//! `d1:` is the version; behind it stand, in base64url without padding, the checksum and the length of what
//! follows, each in four bytes with the lowest first, and the program in its JSON form, deflated. So a word
//! that was cut or mistyped is told from one of another version.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;
use thiserror::Error;
use uringspec_model::program::Program;

/// The version, and what every token begins with.
const PREFIX: &str = "d1:";
/// The longest token; a line of a shell takes more.
const TOKEN_MAX: usize = 1 << 20;
/// The most bytes of JSON; a program with the most memory that a case can have takes less.
const JSON_MAX: usize = 16 << 20;
/// Checksum and length.
const HEAD: usize = 8;

/// Why a word is no token.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TokenError {
    /// It begins otherwise.
    #[error("the token is of version {0}, expected {PREFIX}…")]
    Version(String),
    /// A character that no token has.
    #[error("character {0} of the token cannot stand there, expected letters, digits, - and _")]
    Character(usize),
    /// Its end is missing.
    #[error("the token is cut off: {0} bytes of {1}; expected all of it")]
    Cut(usize, usize),
    /// It says something else than was written.
    #[error("the token was changed: its checksum is {0:08x}, expected {1:08x}")]
    Checksum(u32, u32),
    /// It is longer than tokens are.
    #[error("the token is too long, expected at most {TOKEN_MAX} characters")]
    TooLong,
    /// What it holds is no program.
    #[error("the token holds no program: {0}")]
    NoProgram(String),
}

/// Whether this is meant to be a token, of whatever version.
pub fn is_token(word: &str) -> bool {
    let version = word.split_once(':').map(|(version, _)| version);
    let digits = version.and_then(|version| version.strip_prefix('d'));
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// The token of a program.
pub fn encode(program: &Program) -> String {
    let json = serde_json::to_vec(program).expect("a program is plain data");
    let packed = compress_to_vec(&json, 9);
    let mut bytes = crc32fast::hash(&packed).to_le_bytes().to_vec();
    bytes.extend((packed.len() as u32).to_le_bytes());
    bytes.extend(packed);
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// The program of a token.
pub fn decode(token: &str) -> Result<Program, TokenError> {
    let Some(text) = token.strip_prefix(PREFIX) else {
        return Err(TokenError::Version(token.chars().take_while(|c| *c != ':').take(8).collect()));
    };
    if text.len() > TOKEN_MAX {
        return Err(TokenError::TooLong);
    }
    let foreign = |c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c);
    if let Some(at) = text.chars().position(foreign) {
        return Err(TokenError::Character(PREFIX.len() + at + 1));
    }
    // One character more than whole bytes need is what is left of a cut one.
    let whole = if text.len() % 4 == 1 { text.len() - 1 } else { text.len() };
    let bytes = lenient().decode(&text[..whole]).map_err(|error| TokenError::NoProgram(error.to_string()))?;
    let word = |at: usize| bytes.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let (Some(sum), Some(len)) = (word(0), word(4)) else { return Err(TokenError::Cut(bytes.len(), HEAD)) };
    let packed = &bytes[HEAD..];
    if packed.len() < len as usize {
        return Err(TokenError::Cut(packed.len(), len as usize));
    }
    let came = crc32fast::hash(packed);
    if came != sum {
        return Err(TokenError::Checksum(came, sum));
    }
    let refuse = |error: &dyn std::fmt::Display| TokenError::NoProgram(error.to_string());
    let json = decompress_to_vec_with_limit(packed, JSON_MAX).map_err(|error| refuse(&error))?;
    serde_json::from_slice(&json).map_err(|error| refuse(&error))
}

/// Takes a last character whose spare bits are set, as one that was cut has.
fn lenient() -> base64::engine::GeneralPurpose {
    let config = base64::engine::GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_encode_padding(false)
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone);
    base64::engine::GeneralPurpose::new(&base64::alphabet::URL_SAFE, config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign;
    use crate::draft::Features;

    #[test]
    fn a_token_is_the_program() {
        for number in 0..200 {
            let program = campaign::program(1, number, Features::DEFAULT);
            assert_eq!(decode(&encode(&program)), Ok(program));
        }
    }

    #[test]
    fn what_is_no_token_is_refused_with_the_reason() {
        let token = encode(&Program::default());
        assert!(is_token(&token) && is_token("d2:xyz") && !is_token("zc/held") && !is_token("d:x"));
        assert_eq!(decode("d2:AAAA"), Err(TokenError::Version("d2".into())));
        assert_eq!(decode(""), Err(TokenError::Version(String::new())));
        assert_eq!(decode("d1:"), Err(TokenError::Cut(0, 8)));
        assert_eq!(decode("d1:AA+A"), Err(TokenError::Character(6)));
        for len in PREFIX.len()..token.len() {
            assert!(matches!(decode(&token[..len]), Err(TokenError::Cut(..))), "{}", &token[..len]);
        }
        let longer = format!("{token}AAAA");
        assert!(matches!(decode(&longer), Err(TokenError::Checksum(..))));
        for at in PREFIX.len() + 11..token.len() - 1 {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("it is ASCII");
            assert!(matches!(decode(&changed), Err(TokenError::Checksum(..))), "{changed}");
        }
        assert_eq!(decode(&format!("d1:{}", "A".repeat(TOKEN_MAX + 1))), Err(TokenError::TooLong));
    }

    #[test]
    fn what_is_packed_has_to_be_a_program() {
        let pack = |bytes: &[u8]| {
            let packed = compress_to_vec(bytes, 9);
            let head = [crc32fast::hash(&packed).to_le_bytes(), (packed.len() as u32).to_le_bytes()].concat();
            format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode([head, packed].concat()))
        };
        assert!(matches!(decode(&pack(b"[7]")), Err(TokenError::NoProgram(_))));
        assert!(matches!(decode(&pack(b"{\"steps\":7}")), Err(TokenError::NoProgram(_))));
        assert!(matches!(decode(&pack(&vec![b' '; JSON_MAX + 1])), Err(TokenError::NoProgram(_))));
        assert!(matches!(decode("d1:AAAAAAAAAAA"), Err(TokenError::NoProgram(_))), "nothing is packed");
    }
}

//! How data rest in a workspace that is packed: compressed with zstd, and sealed with age where there is a recipient.
//!
//! A packed file is a zstd frame, or an age file that holds one; a sealed list is a sequence of age files in their text form (armour),
//! each of which holds a zstd frame of whole lines (see [`super::lines`]).
//! Both are the formats of the tools `age` and `zstd`, so a person with the identity opens them without us.
//!
//! **Invariant: an identity is never shown.** It comes from a file or from the environment, and no text of ours holds it or a part of it.

use std::ffi::OsString;
use std::fmt::{self, Debug, Formatter};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::x25519::{Identity, Recipient};
use age::{DecryptError, Decryptor, Encryptor};

use super::error::{Error, cause};

/// zstd's own default: about 300 MB a second and core.
const LEVEL: i32 = 3;
/// Logarithm of the smallest window of zstd.
const SMALLEST_WINDOW: u32 = 10;
/// Logarithm of the window that goes with the level.
const LARGEST_WINDOW: u32 = 21;
/// Longest file with identities that is read.
const LONGEST_FILE: u64 = 1 << 20;
/// Bytes read from a packed file at a time: more than one chunk of age.
const CHUNK: usize = 128 << 10;
/// Most bytes that one block of a list opens to, so that a forged one cannot fill the memory.
const LARGEST_BLOCK: u64 = 64 << 20;
/// The first line of a sealed block.
pub const BEGIN: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";
/// The last line of a sealed block.
pub const END: &[u8] = b"-----END AGE ENCRYPTED FILE-----";

/// Where the age identity is, which opens what is sealed.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// A file as `age-keygen` writes it.
    File(PathBuf),
    /// The same, as text.
    Text(String),
}

impl Debug for Secret {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) if is_identity(path) => formatter.write_str("(not shown)"),
            Self::File(path) => write!(formatter, "{}", path.display()),
            Self::Text(_) => formatter.write_str("(not shown)"),
        }
    }
}

impl Secret {
    /// From the values of `RELOCATION_AGE_IDENTITY` and `RELOCATION_AGE_IDENTITY_FILE`.
    #[must_use]
    pub fn read(text: Option<OsString>, file: Option<OsString>) -> Option<Self> {
        let text = || text.map(|text| Self::Text(text.to_string_lossy().into_owned()));
        file.map(|file| Self::File(file.into())).or_else(text)
    }

    fn identities(&self) -> Result<Vec<Identity>, Error> {
        let unusable = |problem: String| Error::Identity { problem };
        let text = match self {
            Self::Text(text) => text.clone(),
            Self::File(path) if is_identity(path) => {
                return Err(unusable(
                    "it was given itself where --identity-file or RELOCATION_AGE_IDENTITY_FILE names its file"
                        .to_owned(),
                ));
            }
            Self::File(path) => {
                let mut text = String::new();
                let shown = path.display();
                std::fs::File::open(path)
                    .and_then(|file| file.take(LONGEST_FILE).read_to_string(&mut text))
                    .map_err(|error| unusable(format!("its file {shown} cannot be read: {}", cause(&error))))?;
                text
            }
        };
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let identities: Result<Vec<Identity>, _> = lines.map(str::parse).collect();
        match identities {
            Ok(identities) if identities.is_empty() => Err(unusable("it is empty".to_owned())),
            Ok(identities) => Ok(identities),
            Err(_) => Err(unusable("it has a line that is not AGE-SECRET-KEY-1 and more".to_owned())),
        }
    }
}

/// Whether somebody has mistaken the name of the file for what is in it: such a path is not shown.
fn is_identity(path: &Path) -> bool {
    path.to_string_lossy().to_ascii_uppercase().contains("AGE-SECRET-KEY-")
}

/// Reads a recipient of the command line. A refusal does not repeat it: somebody may have mistaken the identity for it.
pub fn parse_recipient(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let recipient: Recipient = text
        .trim()
        .parse()
        .map_err(|_| "a recipient is age1 and 58 more characters, as age-keygen shows it".to_owned())?;
    Ok(recipient.to_string())
}

/// To whom things are sealed, and what opens them.
#[derive(Default)]
pub struct Seal {
    recipients: Vec<Recipient>,
    identities: Vec<Identity>,
}

impl Debug for Seal {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self { recipients, identities } = self;
        write!(formatter, "{} recipients, {} identities", recipients.len(), identities.len())
    }
}

/// Why something packed does not open.
#[derive(Debug)]
pub enum Unopened {
    /// It is sealed and there is no identity.
    NoIdentity,
    /// It is sealed to others.
    WrongIdentity,
    /// It is cut short, or not what was written.
    Damaged,
    /// It cannot be read.
    Read(io::Error),
}

impl Unopened {
    /// Of an error while reading on: what has no number of the kernel comes from what was read.
    #[must_use]
    pub fn of(error: io::Error) -> Self {
        if error.raw_os_error().is_some() { Self::Read(error) } else { Self::Damaged }
    }

    /// The sentence, where it is the identity's fault.
    #[must_use]
    pub fn locked(&self) -> Option<Error> {
        match self {
            Self::NoIdentity => Some(Error::Locked("no age identity was given")),
            Self::WrongIdentity => Some(Error::Locked("the given age identity is not one of its recipients'")),
            Self::Damaged | Self::Read(_) => None,
        }
    }
}

impl From<DecryptError> for Unopened {
    fn from(error: DecryptError) -> Self {
        match error {
            DecryptError::NoMatchingKeys => Self::WrongIdentity,
            DecryptError::Io(error) => Self::of(error),
            _ => Self::Damaged,
        }
    }
}

impl Seal {
    /// Reads the identity, if there is one. Whoever also writes must be able to open it again, if at all.
    pub fn new(recipients: &[String], secret: Option<&Secret>) -> Result<Self, Error> {
        let identities = secret.map_or_else(|| Ok(Vec::new()), Secret::identities)?;
        // Those of the command line were parsed, so these are the manifest's.
        let wrong = |_| Error::ManifestBroken { line: 1, problem: "it names a recipient that is none".to_owned() };
        let recipients =
            recipients.iter().map(|text| text.parse().map_err(wrong)).collect::<Result<Vec<Recipient>, _>>()?;
        Ok(Self { recipients, identities })
    }

    /// Whether what is written is sealed.
    #[must_use]
    pub fn is_sealing(&self) -> bool {
        !self.recipients.is_empty()
    }

    /// Whether the identity is one of the recipients', or there is none of either.
    #[must_use]
    pub fn opens_its_own(&self) -> bool {
        let ours: Vec<String> = self.identities.iter().map(|identity| identity.to_public().to_string()).collect();
        let is_ours = |recipient: &Recipient| ours.contains(&recipient.to_string());
        ours.is_empty() || !self.is_sealing() || self.recipients.iter().any(is_ours)
    }

    /// The sealed text of some whole lines.
    #[allow(clippy::missing_panics_doc)] // it cannot
    pub fn block(&self, lines: &[u8]) -> io::Result<Vec<u8>> {
        let compressed = zstd::bulk::compress(lines, LEVEL)?;
        let mut armour = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor)?;
        let mut sealed = self.encryptor().wrap_output(&mut armour)?;
        sealed.write_all(&compressed)?;
        sealed.finish()?;
        armour.finish()
    }

    /// The lines of a sealed text.
    pub fn open_block(&self, text: &[u8]) -> Result<Vec<u8>, Unopened> {
        let opened = self.decrypt(ArmoredReader::new(text))?;
        let unpacked = unpacker(BufReader::with_capacity(CHUNK, opened))?;
        let mut lines = Vec::new();
        let read = unpacked.take(LARGEST_BLOCK).read_to_end(&mut lines).map_err(Unopened::of)?;
        if read as u64 == LARGEST_BLOCK { Err(Unopened::Damaged) } else { Ok(lines) }
    }

    /// Starts to pack about `size` bytes.
    pub fn pack<W: Write>(&self, out: W, size: u64) -> io::Result<Packing<W>> {
        let sealing =
            if self.is_sealing() { Sealing::Sealed(self.encryptor().wrap_output(out)?) } else { Sealing::Plain(out) };
        let mut packing = zstd::Encoder::new(sealing, LEVEL)?;
        // Small files take little memory then.
        let log = u64::BITS - size.max(1).leading_zeros();
        packing.window_log(log.clamp(SMALLEST_WINDOW, LARGEST_WINDOW))?;
        Ok(Packing(packing))
    }

    /// Opens what [`Self::pack`] has written. Whether it is sealed was written down.
    pub fn unpack<R: Read + Send + 'static>(&self, from: R, is_sealed: bool) -> Result<Box<dyn Read + Send>, Unopened> {
        let from = BufReader::with_capacity(CHUNK, from);
        if is_sealed {
            let opened = self.decrypt(from)?;
            Ok(Box::new(unpacker(BufReader::with_capacity(CHUNK, opened))?))
        } else {
            Ok(Box::new(unpacker(from)?))
        }
    }

    fn encryptor(&self) -> Encryptor {
        let recipients = self.recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
        Encryptor::with_recipients(recipients).expect("there is a recipient, and all are of one kind")
    }

    fn decrypt<R: BufRead>(&self, from: R) -> Result<age::stream::StreamReader<R>, Unopened> {
        if self.identities.is_empty() {
            return Err(Unopened::NoIdentity);
        }
        let identities = self.identities.iter().map(|identity| identity as &dyn age::Identity);
        Ok(Decryptor::new_buffered(from)?.decrypt(identities)?)
    }
}

/// Unpacks what was packed with a window of ours: a larger one is forged, and would take its size in memory.
fn unpacker<R: BufRead>(from: R) -> Result<zstd::Decoder<'static, R>, Unopened> {
    let mut unpacking = zstd::Decoder::with_buffer(from).map_err(Unopened::of)?;
    unpacking.window_log_max(LARGEST_WINDOW).map_err(Unopened::of)?;
    Ok(unpacking)
}

/// A file that is being packed.
pub struct Packing<W: Write>(zstd::Encoder<'static, Sealing<W>>);

enum Sealing<W: Write> {
    Plain(W),
    Sealed(age::stream::StreamWriter<W>),
}

impl<W: Write> Packing<W> {
    /// Writes the end; without it, what was written does not open.
    pub fn finish(self) -> io::Result<W> {
        let mut out = match self.0.finish()? {
            Sealing::Plain(out) => out,
            Sealing::Sealed(sealed) => sealed.finish()?,
        };
        out.flush()?;
        Ok(out)
    }
}

impl<W: Write> Write for Packing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Sealed(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Sealed(out) => out.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use age::secrecy::ExposeSecret;

    use super::*;

    fn seal_of(identity: &Identity) -> Seal {
        let secret = Secret::Text(format!("# a comment\n{}\n", identity.to_string().expose_secret()));
        Seal::new(&[identity.to_public().to_string()], Some(&secret)).unwrap()
    }

    fn unpacked(seal: &Seal, packed: &[u8], is_sealed: bool) -> Result<Vec<u8>, Unopened> {
        let mut bytes = Vec::new();
        let mut opened = seal.unpack(io::Cursor::new(packed.to_vec()), is_sealed)?;
        opened.read_to_end(&mut bytes).map_err(Unopened::of)?;
        Ok(bytes)
    }

    #[test]
    fn what_is_packed_comes_back_and_nothing_shorter_does() {
        let sealing = seal_of(&Identity::generate());
        for (seal, is_sealed) in [(&Seal::default(), false), (&sealing, true)] {
            for size in [0, 1, 70_000, 300_000] {
                let bytes: Vec<u8> =
                    (0..size).map(|number: u32| number.to_le_bytes()[0] ^ (number >> 9).to_le_bytes()[0]).collect();
                let mut packing = seal.pack(Vec::new(), u64::from(size)).unwrap();
                packing.write_all(&bytes).unwrap();
                let packed = packing.finish().unwrap();
                assert_eq!(unpacked(seal, &packed, is_sealed).unwrap(), bytes);
                for cut in [1, packed.len() / 3, packed.len() / 2, packed.len() - 1] {
                    let short = unpacked(seal, &packed[..cut], is_sealed);
                    assert!(matches!(short, Err(Unopened::Damaged)), "{size} {cut}: {short:?}");
                }
            }
        }
    }

    #[test]
    fn a_window_that_would_fill_the_memory_is_refused() {
        for (log, is_ours) in [(LARGEST_WINDOW, true), (LARGEST_WINDOW + 1, false)] {
            let mut packing = zstd::Encoder::new(Vec::new(), LEVEL).unwrap();
            packing.window_log(log).unwrap();
            packing.write_all(b"some bytes").unwrap();
            let opened = unpacked(&Seal::default(), &packing.finish().unwrap(), false);
            assert_eq!(matches!(opened, Ok(bytes) if bytes == b"some bytes"), is_ours, "{log}");
        }
    }

    #[test]
    fn a_recipient_in_the_manifest_that_is_none_damages_it() {
        let broken = Seal::new(&["age1none".to_owned()], None);
        assert!(matches!(broken, Err(Error::ManifestBroken { line: 1, .. })), "{broken:?}");
    }

    #[test]
    fn a_block_opens_for_its_recipient_only_and_not_when_it_was_changed() {
        let (one, other) = (Identity::generate(), Identity::generate());
        let block = seal_of(&one).block(b"a secret line\n").unwrap();
        assert!(block.starts_with(BEGIN) && block.trim_ascii_end().ends_with(END));
        assert_eq!(seal_of(&one).open_block(&block).unwrap(), b"a secret line\n");
        assert!(matches!(seal_of(&other).open_block(&block), Err(Unopened::WrongIdentity)));
        assert!(matches!(Seal::default().open_block(&block), Err(Unopened::NoIdentity)));
        let mut changed = block.clone();
        let place = changed.len() - END.len() - 10;
        changed[place] ^= 1;
        assert!(matches!(seal_of(&one).open_block(&changed), Err(Unopened::Damaged)));
    }

    #[test]
    fn an_identity_is_never_part_of_what_is_said() {
        let secret = "AGE-SECRET-KEY-1NOTREALLYONE";
        assert!(!parse_recipient(secret).unwrap_err().contains("NOTREALLY"));
        for mistaken in
            [Secret::Text(secret.to_owned()), Secret::File(secret.into()), Secret::File(secret.to_lowercase().into())]
        {
            assert!(!format!("{mistaken:?}").to_uppercase().contains("NOTREALLY"));
            let error = mistaken.identities().err().unwrap();
            assert!(!error.sentence().to_uppercase().contains("NOTREALLY"), "{}", error.sentence());
        }
    }
}

//! Standard output and error: text or JSON lines, plain when piped, quiet when the reader is gone.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Where results go.
pub struct Output {
    out: Box<dyn Write>,
    /// The format.
    pub format: Format,
    /// Whether colours are shown.
    pub colours: bool,
    /// Whether the line of progress is shown; it goes to standard error.
    progress: bool,
    /// Nobody reads any more: the rest of the work is still done, for the exit code.
    gone: bool,
}

impl Output {
    /// Standard output.
    pub fn standard(format: Format) -> Output {
        let stdout = io::stdout();
        let colours = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let progress = io::stderr().is_terminal() && format == Format::Text;
        Output { out: Box::new(stdout), format, colours, progress, gone: false }
    }

    /// A place in memory or elsewhere, for tests.
    pub fn to(out: Box<dyn Write>, format: Format) -> Output {
        Output { out, format, colours: false, progress: false, gone: false }
    }

    /// A line for people; nothing in JSON.
    pub fn line(&mut self, text: &str) {
        if self.format == Format::Text {
            self.clear_progress();
            self.write(text);
        }
    }

    /// An object for programs, in JSON only.
    pub fn object(&mut self, value: &impl Serialize) {
        if self.format == Format::Json {
            self.last(value);
        }
    }

    /// The last line, an object in either format.
    pub fn last(&mut self, value: &impl Serialize) {
        self.clear_progress();
        if let Ok(text) = serde_json::to_string(value) {
            self.write(&text);
        }
    }

    /// Says what is being done, on a terminal.
    pub fn progress(&self, text: &str) {
        if self.progress {
            let short: String = text.chars().take(70).collect();
            let _ = write!(io::stderr(), "\r\x1b[K{short}");
        }
    }

    /// Takes the line of progress away.
    pub fn clear_progress(&self) {
        if self.progress {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    fn write(&mut self, text: &str) {
        if !self.gone && writeln!(self.out, "{text}").and_then(|()| self.out.flush()).is_err() {
            self.gone = true;
        }
    }
}

/// A word in a colour, on a terminal.
pub fn coloured(word: &str, colour: Colour, colours: bool) -> String {
    match colours {
        true => format!("\x1b[{}m{word}\x1b[0m", colour as u8),
        false => word.to_string(),
    }
}

/// ANSI foreground colours.
#[derive(Clone, Copy)]
pub enum Colour {
    /// Wrong.
    Red = 31,
    /// Right.
    Green = 32,
    /// Neither.
    Yellow = 33,
}

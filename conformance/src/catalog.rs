//! Where cases are found: in files and folders that were named, in the checkout, or in the command
//! itself, which carries the cases it was built with.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};

use crate::case::lowered::Lowered;
use crate::case::{self, Case, CaseError};

static EMBEDDED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/cases");

/// The most names that an error offers; more are no help, and areas are named instead.
const NEAR_MAX: usize = 5;

/// Files longer than this are not read; the parser refuses them anyway.
const FILE_MAX_BYTES: u64 = (1 << 20) + 1;

/// The text of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Area and name: `zc/basic`.
    pub name: String,
    /// The file, as a message names it.
    pub file: String,
    /// Where it can be written again, if it is not built in.
    pub path: Option<PathBuf>,
    /// What it says.
    pub text: String,
}

/// A case that was read and lowered.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Where it is from.
    pub found: Found,
    /// What it says.
    pub case: Case,
    /// Its programs.
    pub lowered: Vec<Lowered>,
}

/// The cases of the checkout this was built from, if it is still there.
pub fn checkout() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    folder.is_dir().then_some(folder)
}

/// The cases of the project: from the checkout, or those that were built in.
pub fn all() -> io::Result<Vec<Found>> {
    match checkout() {
        Some(folder) => {
            let mut found = below(&folder, "cases")?;
            found.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(found)
        }
        None => Ok(embedded()),
    }
}

/// The cases that were built in.
pub fn embedded() -> Vec<Found> {
    let mut found = Vec::new();
    let mut folders = vec![&EMBEDDED];
    while let Some(folder) = folders.pop() {
        folders.extend(folder.dirs());
        for file in folder.files().filter(|f| f.path().extension().is_some_and(|e| e == "case")) {
            let path = file.path().to_string_lossy();
            let name = path.trim_end_matches(".case").to_string();
            let text = file.contents_utf8().unwrap_or("").to_string();
            found.push(Found { name, file: format!("cases/{path}"), path: None, text });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// The cases that `path` names: a file, every `.case` file below a folder, or, where there is neither, a
/// case or an area of the project.
pub fn named(path: &Path) -> io::Result<Vec<Found>> {
    let shown = path.to_string_lossy();
    if !path.exists() {
        return of_project(&shown);
    }
    if path.is_dir() {
        let found = below(path, shown.trim_end_matches('/'))?;
        return match found.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::NotFound, "a folder with .case files was expected")),
            false => Ok(found),
        };
    }
    let text = text_of(path)?;
    Ok(vec![Found { name: name_of(path), file: shown.into_owned(), path: Some(path.into()), text }])
}

/// A case of the project by its name, or those of an area; of what is neither, names that look alike.
fn of_project(name: &str) -> io::Result<Vec<Found>> {
    let name = name.trim_end_matches('/').trim_end_matches(".case");
    let area = |found: &Found| found.name.split('/').next().unwrap_or("").to_string();
    let all = all()?;
    let found: Vec<Found> = all.iter().filter(|f| f.name == name || area(f) == name).cloned().collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let areas: BTreeSet<String> = all.iter().map(area).collect();
    let last = |name: &str| name.rsplit('/').next().unwrap_or(name).to_string();
    // A case may be meant that stands in another area.
    let mut alike: Vec<String> =
        all.iter().map(|f| f.name.clone()).filter(|n| last(n) == last(name)).collect();
    if alike.is_empty() {
        alike = case::near(name, all.iter().map(|f| f.name.clone()).chain(areas.iter().cloned()));
    }
    if alike.len() > NEAR_MAX {
        alike = areas.into_iter().collect();
    }
    let expected = alike.join(", ");
    let text = format!("there is no such file, case or area, expected one of: {expected}");
    Err(io::Error::new(io::ErrorKind::NotFound, text))
}

/// The name of a case from its path: the last folder and the file, without `.case`.
fn name_of(path: &Path) -> String {
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    match path.parent().and_then(Path::file_name) {
        Some(area) => format!("{}/{stem}", area.to_string_lossy()),
        None => stem,
    }
}

fn below(folder: &Path, shown: &str) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let shown = format!("{shown}/{}", entry.file_name().to_string_lossy());
        // The type of the entry itself: a link to a folder above would never end.
        if entry.file_type()?.is_dir() {
            found.extend(below(&path, &shown)?);
        } else if path.extension().is_some_and(|e| e == "case") {
            let text = text_of(&path)?;
            found.push(Found { name: name_of(&path), file: shown, path: Some(path), text });
        }
    }
    Ok(found)
}

fn text_of(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_MAX_BYTES).read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..at].iter().filter(|b| **b == b'\n').count();
        io::Error::new(io::ErrorKind::InvalidData, format!("line {line} is not UTF-8 text"))
    })
}

impl Found {
    /// Reads and lowers the case.
    pub fn read(self) -> Result<Loaded, CaseError> {
        let case = case::parse(&self.file, &self.text)?;
        case::check_names(&self.file, &self.text, &case)?;
        let lowered = case::lower(&self.file, &self.text, &case)?;
        Ok(Loaded { found: self, case, lowered })
    }
}

//! Every case on the model and on this kernel, one test each: `conformance::model::AREA/CASE` and
//! `conformance::kernel::AREA/CASE`. What cannot be run here is reported as ignored, with its reason.

use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use uringspec::catalog::{self, Loaded};
use uringspec::kernel::Kernel;
use uringspec::report;
use uringspec::side_by_side::{Report, Status, Terms, on_kernel, on_model};
use uringspec_model::profile::Profile;

/// One kernel for all tests: a worker runs one program at a time.
type Shared = Arc<Mutex<Result<Kernel, String>>>;

fn main() {
    let arguments = Arguments::from_args();
    let kernel: Shared = Arc::new(Mutex::new(Kernel::open(Some(env!("CARGO_BIN_EXE_uringspec").into()))));
    let mut trials = Vec::new();
    for found in catalog::all().expect("the cases stand beside this test") {
        let name = found.name.clone();
        let (on_model, on_kernel) = (found.clone(), found);
        trials.push(Trial::ignorable_test(format!("conformance::model::{name}"), move || model(on_model)));
        let kernel = Arc::clone(&kernel);
        trials.push(Trial::ignorable_test(format!("conformance::kernel::{name}"), move || {
            live(on_kernel, &kernel)
        }));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn model(found: catalog::Found) -> Result<Completion, Failed> {
    let loaded = found.read().map_err(|error| Failed::from(error.page(false)))?;
    let reports = on_model(&loaded, &Profile::v6_18(), Terms::default());
    judge(&loaded, &reports)
}

fn live(found: catalog::Found, kernel: &Shared) -> Result<Completion, Failed> {
    let loaded = found.read().map_err(|error| Failed::from(error.page(false)))?;
    let mut kernel = kernel.lock().map_err(|_| Failed::from("another test broke the worker"))?;
    match &mut *kernel {
        Err(reason) => Ok(Completion::ignored_with(reason.clone())),
        Ok(kernel) => judge(&loaded, &on_kernel(&loaded, kernel, Terms::default())),
    }
}

/// All rings must do; a case is ignored where none could be tried.
fn judge(loaded: &Loaded, reports: &[Report]) -> Result<Completion, Failed> {
    let pages: Vec<String> = reports.iter().filter_map(|report| report::page(loaded, report)).collect();
    if !pages.is_empty() {
        return Err(Failed::from(pages.join("\n")));
    }
    let skipped: Vec<&str> = reports
        .iter()
        .filter_map(|report| match &report.status {
            Status::Skipped(reason) => Some(reason.as_str()),
            _ => None,
        })
        .collect();
    match skipped.first() {
        Some(reason) if skipped.len() == reports.len() => Ok(Completion::ignored_with(*reason)),
        _ => Ok(Completion::Completed),
    }
}

//! The kernel under this process, as far as `side_by_side` needs it. The one file that knows the
//! interface of `uringspec-real`.

use std::path::PathBuf;

use uringspec_model::profile::Profile;
use uringspec_model::program::Program;
use uringspec_model::trace::Trace;
use uringspec_real::{Options, RunError, Worker, WorkerCommand, probe};

/// The kernel that was found.
pub struct Kernel {
    profile: Profile,
    options: Options,
    worker: Worker,
}

/// Why there is no trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoTrace {
    /// The program cannot be run here.
    Skip(String),
    /// The process that ran it came to an end.
    Broken(String),
}

impl Kernel {
    /// Looks what the kernel can do, or says why no program can be run on it. `command` is this
    /// command's executable; absent, it is the one that is running.
    pub fn open(command: Option<PathBuf>) -> Result<Kernel, String> {
        let profile = probe().map_err(|skip| skip.to_string())?;
        let program = match command {
            Some(program) => program,
            None => std::env::current_exe().map_err(|error| format!("no worker can be started: {error}"))?,
        };
        let options = Options::new(WorkerCommand { program, args: vec!["worker".into()] });
        Ok(Kernel { profile, worker: Worker::new(options.clone()), options })
    }

    /// The same kernel with a worker of its own, for another thread.
    pub fn another(&self) -> Kernel {
        let (profile, options) = (self.profile.clone(), self.options.clone());
        Kernel { profile, worker: Worker::new(options.clone()), options }
    }

    /// Its features.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Runs a program.
    pub fn run(&mut self, program: &Program) -> Result<Trace, NoTrace> {
        self.worker.run(program).map_err(|error| match error {
            RunError::Skip(skip) => NoTrace::Skip(skip.to_string()),
            RunError::NoWorker(reason) => NoTrace::Skip(reason),
            died @ RunError::Died { .. } => NoTrace::Broken(died.to_string()),
        })
    }
}

//! All of it together: the topology, its servers, and sheaved with the services that most tests want.

use crate::director::{Director, Service};
use crate::http::ask_once;
use crate::load::{Load, Running};
use crate::servers::{self, ServerThread};
use crate::{Lab, Method, Options, Process, Result};

/// A lab with `web` and `echo` offered on the VIP. What is declared first is dropped first.
#[derive(Debug)]
pub struct Bed {
    /// sheaved.
    pub director: Director,
    /// The UDP echoes of the real servers, in their order.
    pub echoes: Vec<ServerThread>,
    /// The nginx of each real server, in their order.
    pub nginx: Vec<Process>,
    /// The network.
    pub lab: Lab,
}

impl Bed {
    /// Builds the topology, prepares the real servers for `method`, and starts all servers and sheaved.
    ///
    /// # Errors
    /// When any of it does not come up.
    pub fn start(method: Method) -> Result<Self> {
        Self::start_with(method, Options::default(), "")
    }

    /// As [`Bed::start`], with other options and with further lines in the configuration's `[director]` table.
    ///
    /// # Errors
    /// When any of it does not come up.
    pub fn start_with(method: Method, options: Options, director_lines: &str) -> Result<Self> {
        let lab = Lab::with(options)?;
        lab.prepare(method)?;
        let nginx = servers::start_nginx(&lab)?;
        let echoes = echoes(&lab, method)?;
        let services = [Service::web(&lab, method), Service::echo(&lab, method)];
        let director = Director::start_with(&lab, &services, director_lines)?;
        Ok(Self { director, echoes, nginx, lab })
    }

    /// One HTTP request through the VIP; returns the server's name.
    ///
    /// # Errors
    /// When it fails in any way.
    pub fn ask(&self) -> Result<String> {
        ask_once(&self.lab.client, self.lab.vip(80))
    }

    /// Starts connection-close requests through the VIP.
    #[must_use]
    pub fn close_load(&self) -> Running {
        Load::close(self.lab.vip(80)).start(&self.lab.client)
    }

    /// Starts keep-alive requests through the VIP.
    #[must_use]
    pub fn keep_alive_load(&self) -> Running {
        Load::keep_alive(self.lab.vip(80)).start(&self.lab.client)
    }
}

/// Starts the UDP echo of each real server where `method` will look for it.
///
/// # Errors
/// When the real servers are not prepared for `method`.
fn echoes(lab: &Lab, method: Method) -> Result<Vec<ServerThread>> {
    let echo = |real: &crate::Real| {
        let address = match method {
            Method::Nat => real.at(method.echo_port()),
            Method::Dr | Method::Tun => lab.vip(method.echo_port()),
        };
        servers::udp_echo(&real.netns, &real.name, address)
    };
    lab.reals.iter().map(echo).collect()
}

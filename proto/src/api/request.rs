//! Requests: reading them without trust, writing them for clients.

use serde_json::{Map, Value as Json, json};

use super::drain::Drain;
use super::error::{ErrorCode, ErrorReply};
use super::response::{Id, Response, line};
use super::sticky::StickyFilter;
use super::words::{ConnState, OpName};
use crate::config::{
    Config, ConfigError, DestAddr, Destination, DestinationPatch, Service, ServicePatch, TimeoutsPatch, bare,
    near, quote,
};
use crate::wire::flow::Proto;

/// The version of the API, the `v` of a request.
pub const VERSION: u64 = 1;

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What the response will carry.
    pub id: Id,
    /// What is asked for.
    pub op: Op,
}

/// What a request asks for. Every name of a service is its name or its listen string.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// `status.show`, answered by [`Status`](super::Status).
    StatusShow,
    /// `service.list`, answered by [`ServiceList`](super::ServiceList).
    ServiceList,
    /// `service.show`, answered by [`ServiceShown`](super::ServiceShown).
    ServiceShow {
        /// Which.
        service: String,
    },
    /// `service.add`: the keys of a `[[service]]`. Answered by [`Applied`](super::Applied).
    ServiceAdd(Box<Service>),
    /// `service.set`: which, and the keys to change. Answered by [`Applied`](super::Applied).
    ServiceSet {
        /// Which.
        service: String,
        /// What changes.
        patch: ServicePatch,
    },
    /// `service.remove`, answered by [`Applied`](super::Applied).
    ServiceRemove {
        /// Which.
        service: String,
    },
    /// `destination.list`, answered by [`DestinationList`](super::DestinationList).
    DestinationList {
        /// Of which service; none is all.
        service: Option<String>,
    },
    /// `destination.add`: `service`, and the keys of a `[[service.destination]]`. Answered by
    /// [`Applied`](super::Applied).
    DestinationAdd {
        /// To which service.
        service: String,
        /// The destination.
        destination: Destination,
    },
    /// `destination.set`: `service`, `address`, and the keys to change. Answered by
    /// [`Applied`](super::Applied).
    DestinationSet {
        /// Of which service.
        service: String,
        /// Which.
        address: DestAddr,
        /// What changes.
        patch: DestinationPatch,
    },
    /// `destination.remove`, answered by [`Applied`](super::Applied).
    DestinationRemove {
        /// Of which service.
        service: String,
        /// Which.
        address: DestAddr,
    },
    /// `destination.drain`: `service`, `address`, `deadline`, `then`, `templates`. Answered by
    /// [`Applied`](super::Applied); the drain tells how it goes by events.
    DestinationDrain {
        /// Of which service.
        service: String,
        /// Which.
        address: DestAddr,
        /// How it goes on and ends.
        drain: Drain,
    },
    /// `config.apply`, answered by [`Applied`](super::Applied).
    ConfigApply(ConfigSource),
    /// `config.plan`, answered by [`PlanReport`](super::PlanReport).
    ConfigPlan(ConfigSource),
    /// `config.show`, answered by [`ConfigShown`](super::ConfigShown).
    ConfigShow,
    /// `config.reload`, answered by [`Applied`](super::Applied).
    ConfigReload,
    /// `stats.show`, answered by [`StatsReport`](super::StatsReport).
    StatsShow {
        /// Of which service; none is all.
        service: Option<String>,
    },
    /// `stats.mark`, answered by [`Marked`](super::Marked). From now on [`Stats`](super::Stats) say what was counted
    /// since, too. There is one mark for all clients, and it does not outlive the director; totals are never reset.
    StatsMark {
        /// Of which service and its destinations; none is all.
        service: Option<String>,
    },
    /// `timeouts.show`, answered by [`TimeoutsShown`](super::TimeoutsShown).
    TimeoutsShow,
    /// `timeouts.set`: `tcp`, `tcp-fin`, `udp` as in the director's `timeouts`. Answered by
    /// [`Applied`](super::Applied).
    TimeoutsSet(TimeoutsPatch),
    /// `connections.list`, answered by [`ConnectionPage`](super::ConnectionPage).
    ConnectionsList(ConnectionFilter),
    /// `sticky.list`, answered by [`StickyPage`](super::StickyPage).
    StickyList {
        /// Which.
        filter: StickyFilter,
        /// How many templates a page holds at most.
        limit: u32,
        /// Where the page begins: what the page before it said.
        cursor: Option<String>,
    },
    /// `sticky.clear`, answered by [`StickyCleared`](super::StickyCleared).
    StickyClear(StickyFilter),
    /// `neighbours.list`, answered by [`NeighboursReport`](super::NeighboursReport).
    NeighboursList,
    /// `workers.show`, answered by [`WorkersReport`](super::WorkersReport).
    WorkersShow,
    /// `counters.show`, answered by [`CountersReport`](super::CountersReport).
    CountersShow,
    /// `events.subscribe`, answered by [`Subscribed`](super::Subscribed), then events.
    EventsSubscribe {
        /// From which number on, as far as they are kept; none is from now on.
        since: Option<u64>,
    },
}

/// A whole configuration, as it stands in a request: not yet read.
#[derive(Debug, Clone, PartialEq)]
pub enum ConfigSource {
    /// `{"toml": TEXT}`, with `"file"` for errors to name.
    Toml {
        /// The text.
        text: String,
        /// What errors call it.
        file: String,
    },
    /// `{"config": {...}}`, in the spellings of the file.
    Object(Json),
}

impl ConfigSource {
    /// Reads and checks it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn resolve(&self) -> Result<Config, Vec<ConfigError>> {
        match self {
            ConfigSource::Toml { text, file } => crate::config::parse(text, file),
            ConfigSource::Object(value) => Config::from_json(value),
        }
    }
}

/// Which connections are listed; all that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionFilter {
    /// The virtual address, and port if given.
    pub vip: Option<DestAddr>,
    /// The real server's address, and port if given.
    pub real: Option<DestAddr>,
    /// The client's address, and port if given.
    pub client: Option<DestAddr>,
    /// The protocol.
    pub proto: Option<Proto>,
    /// The state.
    pub state: Option<ConnState>,
    /// The service.
    pub service: Option<String>,
    /// How many entries a page holds at most.
    pub limit: u32,
    /// Where the page begins: what the page before it said.
    pub cursor: Option<String>,
}

impl ConnectionFilter {
    /// The size of a page unless another is asked for.
    pub const PAGE: u32 = 100;
    /// The largest page.
    pub const LARGEST_PAGE: u32 = 1000;
}

impl Default for ConnectionFilter {
    fn default() -> Self {
        ConnectionFilter {
            vip: None,
            real: None,
            client: None,
            proto: None,
            state: None,
            service: None,
            limit: Self::PAGE,
            cursor: None,
        }
    }
}

/// Reads one line of a client.
///
/// # Errors
/// The response that refuses it, with its id as far as that could be read.
pub fn parse_request(line: &[u8]) -> Result<Request, Response> {
    if line.len() > super::MAX_LINE {
        let message = format!("it is {} bytes long", line.len());
        let remedy = format!("send requests of at most {} bytes", super::MAX_LINE);
        return Err(refusal(Id::None, ErrorReply::new(ErrorCode::TooLarge, "request", message, remedy)));
    }
    let invalid = |message: String, remedy: &str| {
        refusal(Id::None, ErrorReply::new(ErrorCode::Invalid, "request", message, remedy))
    };
    let value: Json = serde_json::from_slice(line)
        .map_err(|error| invalid(format!("not JSON, {error}"), "send one JSON object a line"))?;
    let Json::Object(map) = &value else {
        return Err(invalid("it is not an object".to_owned(), "send {\"v\":1,\"id\":1,\"op\":\"...\"}"));
    };
    Request::from_object(map)
}

fn refusal(id: Id, error: ErrorReply) -> Response {
    Response::error(id, error)
}

impl Request {
    /// Reads the object of a request, as it stands on a line or in a file of requests.
    ///
    /// # Errors
    /// The response that refuses it.
    pub fn from_object(map: &Map<String, Json>) -> Result<Request, Response> {
        let id = read_id(map.get("id"))?;
        let refuse = |code, message: String, remedy: &str| {
            refusal(id.clone(), ErrorReply::new(code, "request", message, remedy))
        };
        match map.get("v").map(Json::as_u64) {
            Some(Some(VERSION)) => {}
            version => {
                let message = match version {
                    None => "v is missing".to_owned(),
                    Some(_) => format!("version {} is not known", bare(&map["v"].to_string())),
                };
                return Err(refuse(ErrorCode::UnknownVersion, message, "send \"v\":1"));
            }
        }
        if let Some(key) = map.keys().find(|key| !["v", "id", "op", "args"].contains(&key.as_str())) {
            let message = format!("key {} is not known", quote(key));
            return Err(refuse(ErrorCode::Invalid, message, "use v, id, op and args"));
        }
        let Some(Json::String(op)) = map.get("op") else {
            let remedy = "name the operation, as in \"op\":\"service.list\"";
            return Err(refuse(ErrorCode::Invalid, "op is missing or not a string".to_owned(), remedy));
        };
        let name: OpName = op.parse().map_err(|_| refusal(id.clone(), unknown_op(op)))?;
        let args = match map.get("args") {
            None | Some(Json::Null) => &json!({}),
            Some(args) => args,
        };
        let op = Op::read(name, args).map_err(|error| refusal(id.clone(), error))?;
        Ok(Request { id, op })
    }

    /// The line on the socket, line feed included.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        line(&json!({ "v": VERSION, "id": self.id, "op": self.op.name(), "args": self.op.args() }))
    }
}

fn read_id(id: Option<&Json>) -> Result<Id, Response> {
    const LONGEST: usize = 128;
    match id {
        None | Some(Json::Null) => Ok(Id::None),
        Some(Json::String(text)) if text.len() <= LONGEST => Ok(Id::Text(text.clone())),
        Some(id) => id.as_i64().map(Id::Number).ok_or_else(|| {
            let message = "id is neither an integer nor a short string";
            refusal(Id::None, ErrorReply::new(ErrorCode::Invalid, "request", message, "number your requests"))
        }),
    }
}

fn unknown_op(op: &str) -> ErrorReply {
    let names = || OpName::ALL.iter().map(|name| name.as_str());
    let (object, verb) = op.split_once('.').unwrap_or((op, ""));
    let mut meant = near(op, names());
    // The verbs of an object that is right help more than ops that look alike.
    meant.extend(names().filter(|name| name.split_once('.').is_some_and(|(o, v)| o == object && v != verb)));
    meant.sort_unstable();
    meant.dedup();
    let remedy = match meant[..] {
        [] => format!("use one of {}", names().collect::<Vec<_>>().join(", ")),
        _ => format!("use one of {}", meant.join(", ")),
    };
    ErrorReply::new(ErrorCode::UnknownOp, "request", format!("op {} is not known", quote(op)), remedy)
}

//! The director's side of the conversation: responses, and how a client tells them from events.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Serialize};

use super::error::ErrorReply;
use super::event::Event;

/// What a request is known by: its response carries the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
    /// The request gave none, or it could not be read.
    #[default]
    None,
}

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// That of the request.
    pub id: Id,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was done; what it asked for. See [`Op`](super::Op) for the type that belongs to each operation.
    Ok(serde_json::Value),
    /// It was not.
    Error(ErrorReply),
}

impl Response {
    /// The response of a request that was done.
    ///
    /// # Panics
    /// When the answer has no JSON form, which none of this module's types can lack.
    #[must_use]
    pub fn ok(id: Id, answer: &impl Serialize) -> Response {
        let answer = serde_json::to_value(answer).expect("answers have a JSON form");
        Response { id, outcome: Outcome::Ok(answer) }
    }

    /// The response of a request that was not done.
    #[must_use]
    pub fn error(id: Id, error: ErrorReply) -> Response {
        Response { id, outcome: Outcome::Error(error) }
    }

    /// The line on the socket, line feed included.
    ///
    /// # Panics
    /// Never: a response is a JSON value.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        line(self)
    }

    /// The answer, as the type that belongs to the operation.
    ///
    /// # Errors
    /// The error of the response; or `failed` when the answer is not of that type.
    pub fn answer<T: DeserializeOwned>(self) -> Result<T, ErrorReply> {
        match self.outcome {
            Outcome::Error(error) => Err(error),
            Outcome::Ok(value) => serde_json::from_value(value).map_err(|error| {
                let message = format!("its answer cannot be read ({error})");
                let remedy = "use programs of one version";
                ErrorReply::new(super::ErrorCode::Failed, "director", message, remedy)
            }),
        }
    }
}

/// A value of this API as a line, line feed included.
pub(super) fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("messages have a JSON form");
    line.push(b'\n');
    line
}

/// A line from the director.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// The answer to a request.
    Response(Response),
    /// Something happened.
    Event(Event),
}

impl Message {
    /// Reads a line from the director.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(line: &[u8]) -> Result<Message, serde_json::Error> {
        let value: serde_json::Value = serde_json::from_slice(line)?;
        match &value {
            serde_json::Value::Object(map) if map.contains_key("event") => {
                serde_json::from_value(value).map(Message::Event)
            }
            serde_json::Value::Object(_) => serde_json::from_value(value).map(Message::Response),
            _ => Err(serde_json::Error::custom("not an object")),
        }
    }
}

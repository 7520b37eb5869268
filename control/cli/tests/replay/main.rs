//! `sheave replay`: golden cases, and the program's own behaviour.

mod golden;
mod program;
mod support;

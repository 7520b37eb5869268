//! The verbs against a director of our own making: what they ask, what they print, how they end.

mod answers;
mod director;
mod failures;
mod pages;
mod paging;
mod requests;
mod shown;

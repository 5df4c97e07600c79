//! The server as its clients see it.

mod adapters;
mod answers;
mod faults;
mod fillings;
mod forms;
mod methods;
mod models;
mod openapi;
mod responses;
mod schema;
mod searches;
mod server;
mod shared;
mod templates;
mod time;

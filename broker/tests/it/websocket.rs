//! What is special about WebSocket: requests at any time, pings, compression, and everything a client may do wrong.

mod conversation;
mod echo;
mod hostile;
mod places;
mod publish;

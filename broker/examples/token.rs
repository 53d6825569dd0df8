//! Makes a token, as docs/TOKENS.md shows it.

use std::time::{SystemTime, UNIX_EPOCH};

use tidings::auth::secret::Secret;
use tidings::auth::token::config::{Algorithm, TokenKey};
use tidings::auth::token::{SigningKey, sign};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let secret = Some(Secret::new(std::env::var("TOKEN_SECRET")?));
    let key = TokenKey { kid: None, algorithm: Algorithm::HS256, secret, secret_file: None, public_key: None, public_key_file: None };
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let claims = serde_json::json!({
        "sub": "ann",
        "iat": now,
        "exp": now + 600,
        "channels": [{ "match": "chat:*", "can": ["subscribe", "publish", "history"] }],
    });
    println!("{}", sign(&SigningKey::of_secret(&key)?, &claims)?);
    Ok(())
}

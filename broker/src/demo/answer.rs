//! Answers questions word by word, at the pace of a language model: what the answer page shows. The page may be reloaded,
//! closed and opened again meanwhile; this program neither knows nor cares.

use std::time::Duration;

use serde::Deserialize;
use tidings_sdk::{Client, Delivery, Message};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::warn;

/// Where questions come in.
const QUESTIONS: &str = "demo:ask";
/// An answer's channel is this and the question's id.
const ANSWERS: &str = "answer:";
/// Answers written at once; a question beyond that is not answered.
const ANSWERS_MAX: usize = 16;
const ID_BYTES_MAX: usize = 64;
/// Time between two words.
const EVERY: Duration = Duration::from_millis(90);
const PAUSE: Duration = Duration::from_secs(2);

/// A word that a question may hold, and the answer to it. The last one has no word: it answers everything else.
const KNOWN: [(&str, &str); 4] = [
    (
        "reload",
        "Nothing is lost. This page keeps the text it has together with the cursor of the last word, so after a reload it \
         shows that text at once and asks the broker for what comes after the cursor. I never notice: I go on publishing \
         words to a channel, and the broker keeps them for whoever comes back. Try it now, while I am still talking. You \
         may also close the tab, take a walk, and reopen it within the time that the channel keeps its history. If you \
         were away for longer than that, you would be told that something is missing, instead of reading a sentence with \
         a hole in it.",
    ),
    (
        "cursor",
        "A cursor is a piece of text that says how far you have read. Every message carries one. You give it back when you \
         return, over whichever front gets through that day, and get everything after it, once and in order. Do not look \
         inside; there is nothing in there for you. And do not count the offsets instead: they begin again when a channel \
         was forgotten, and a cursor notices.",
    ),
    (
        "who",
        "I am a small program beside the broker that knows four answers by heart. A real one would ask a language model \
         and publish its tokens as they come, with one call for each. Everything between me and this page would be the \
         same: a channel for each answer, a cursor for each token, and a page that may come and go as it likes.",
    ),
    (
        "",
        "I do not know, I am afraid. But see how the words arrive one after another: each is a message on a channel that \
         only this question has. Ask me what happens when you reload this page, what a cursor is, or who I am. Those I \
         know by heart.",
    ),
];

#[derive(Deserialize)]
struct Question {
    id: String,
    question: String,
}

/// Answers until it is dropped.
pub(super) async fn answer_for_ever(client: &Client) {
    loop {
        if let Err(why) = answer(client).await {
            warn!(event = "demo", "the demo's questions cannot be heard: {why}");
        }
        sleep(PAUSE).await;
    }
}

async fn answer(client: &Client) -> Result<(), tidings_sdk::Error> {
    let mut questions = client.subscribe([QUESTIONS]).await?;
    let mut writing = JoinSet::new();
    while let Some(delivery) = questions.next().await {
        while writing.try_join_next().is_some() {}
        let Delivery::Message(message) = delivery? else { continue };
        let Ok(question) = serde_json::from_slice::<Question>(&message.data) else { continue };
        if writing.len() < ANSWERS_MAX && question.id.len() <= ID_BYTES_MAX {
            writing.spawn(write(client.clone(), question));
        }
    }
    Ok(())
}

async fn write(client: Client, Question { id, question }: Question) {
    let channel = format!("{ANSWERS}{id}");
    for (n, word) in words(&question).enumerate() {
        sleep(EVERY).await;
        // The id makes it one word, however often it has to be sent.
        if client.publish(&channel, Message::new(word).id(format!("{id}-{n}"))).await.is_err() {
            return;
        }
    }
    let end = Message::new("").event("end").id(format!("{id}-end"));
    if let Err(why) = client.publish(channel, end).await {
        warn!(event = "demo", "the end of an answer cannot be published: {why}");
    }
}

/// The answer in pieces, each with the space behind it.
fn words(question: &str) -> impl Iterator<Item = &'static str> {
    let question = question.to_lowercase();
    let known = KNOWN.iter().find(|(word, _)| question.contains(word));
    known.map_or("", |(_, answer)| answer).split_inclusive(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_has_an_answer_whose_words_are_the_whole_of_it() {
        for (question, begins) in
            [("What happens when I RELOAD?", "Nothing is lost."), ("Who are you?", "I am a small"), ("Why?", "I do not know")]
        {
            let words: Vec<_> = words(question).collect();
            assert!(words.len() > 30);
            let answer = words.concat();
            assert!(answer.starts_with(begins), "{answer}");
            assert!(KNOWN.iter().any(|(_, known)| *known == answer) && !answer.contains("  "));
        }
    }

    #[test]
    fn the_page_uses_the_same_channels() {
        let page = include_str!("assets/answer.js");
        assert!(page.contains(&format!("\"{QUESTIONS}\"")) && page.contains(&format!("`{ANSWERS}$")));
    }
}

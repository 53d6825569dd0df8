//! How many connections each user has on this node, over all fronts; a user is who a token or a signed address names.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use super::TooMany;

/// Counts the connections of each user, up to a bound. As many users are known as are there, so that the bound of all
/// connections bounds this too.
#[derive(Debug)]
pub struct Users {
    /// 0: no bound.
    bound: u32,
    present: Mutex<HashMap<Arc<str>, u32, RandomState>>,
}

/// One connection's place among those of its user; left when dropped.
#[derive(Debug)]
pub struct UserPlace(Box<(Arc<Users>, Arc<str>)>);

impl Users {
    /// At most `bound` connections at once of one user; 0 for no bound.
    #[must_use]
    pub fn new(bound: u32) -> Arc<Self> {
        Arc::new(Self { bound, present: Mutex::default() })
    }

    /// The bound; 0 for none.
    #[must_use]
    pub fn bound(&self) -> u32 {
        self.bound
    }

    /// How many the user has who has most. Looks at all of them.
    #[must_use]
    pub fn most(&self) -> u32 {
        self.present.lock().values().copied().max().unwrap_or(0)
    }

    /// One more connection of this user. `None` where they are not bounded.
    ///
    /// # Errors
    /// When it would be one too many.
    pub fn enter(self: &Arc<Self>, user: &Arc<str>) -> Result<Option<UserPlace>, TooMany> {
        if self.bound == 0 {
            return Ok(None);
        }
        let mut present = self.present.lock();
        let count = present.entry(user.clone()).or_default();
        if *count >= self.bound {
            return Err(TooMany);
        }
        *count += 1;
        Ok(Some(UserPlace(Box::new((self.clone(), user.clone())))))
    }
}

impl Drop for UserPlace {
    fn drop(&mut self) {
        let (users, user) = &*self.0;
        let mut present = users.present.lock();
        if let Some(count) = present.get_mut(user) {
            *count -= 1;
            if *count == 0 {
                present.remove(user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_so_many_and_who_left_is_forgotten() {
        let (users, ann, bob): (_, Arc<str>, Arc<str>) = (Users::new(2), "ann".into(), "bob".into());
        let first = users.enter(&ann).unwrap();
        let _second = users.enter(&ann).unwrap();
        assert_eq!(users.enter(&ann).unwrap_err(), TooMany);
        drop(users.enter(&bob).unwrap());
        assert_eq!(users.most(), 2);
        drop(first);
        assert_eq!(users.present.lock().len(), 1, "bob has gone");
        let third = users.enter(&ann).unwrap();
        assert!(third.is_some() && users.enter(&ann).is_err());
        let free = Users::new(0);
        assert!(free.enter(&ann).unwrap().is_none() && free.most() == 0, "nothing is kept that is not bounded");
    }
}

//! An object of one's own type in the server: an account that several processes use.
//!
//! Prints who was refused, what the account holds in the end, and what becomes of a function that
//! panics. Nothing is lost and the account is never overdrawn.

use std::error::Error;

use multiproc::{Manager, Process, Remote};

struct Account {
    balance: i64,
    log: Vec<String>,
}

impl Account {
    fn open(balance: i64) -> Account {
        let log = Vec::new();
        Account { balance, log }
    }

    fn withdraw(&mut self, (who, amount): (String, i64)) -> Result<(), String> {
        if amount > self.balance {
            return Err(format!(
                "{who} wants {amount}, and there are {}",
                self.balance
            ));
        }
        self.balance -= amount;
        self.log.push(format!("{who} took {amount}"));
        Ok(())
    }
}

/// Takes 7 at a time until there is too little.
fn spend((name, account): (String, Remote<Account>)) -> i64 {
    let mut taken = 0;
    loop {
        // The method travels to the account: nobody comes between its look and its change.
        match account
            .call_mut(Account::withdraw, (name.clone(), 7))
            .unwrap()
        {
            Ok(()) => taken += 7,
            Err(refused) => {
                println!("refused: {refused}");
                return taken;
            }
        }
    }
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let manager = Manager::start()?;
    let account = manager.object_with(Account::open, 1000)?;
    let names = ["Ann", "Bob", "Cid"].map(String::from);
    let spenders = names.map(|name| Process::new(spend, (name, account.clone())).start());
    let mut taken = 0;
    for spender in spenders {
        taken += spender?.join()?;
    }
    let left = account.call(|account, ()| account.balance, ())?;
    let entries = account.call(|account, ()| account.log.len(), ())?;
    println!("{taken} taken in {entries} steps, {left} left");
    assert_eq!(taken + left, 1000);

    let failed = account.call_mut(
        |account, ()| assert_eq!(account.balance, 0, "no crumbs"),
        (),
    );
    println!("{}", failed.expect_err("it panics"));
    let poisoned = account.call(|account, ()| account.balance, ());
    println!("{}", poisoned.expect_err("it is poisoned"));
    Ok(())
}

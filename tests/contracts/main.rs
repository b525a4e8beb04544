//! One contract, two kinds of objects: those in a family's shared memory, and those in a manager's
//! server, which is reached by its socket or by lanes. What they promise is in the docs of the traits in [`kit`]; each promise is tested once, for
//! all.

mod kit;
mod locks;
mod meetings;
mod permits;
mod queues;
mod values;

/// A test of each name for each kind of objects.
macro_rules! contracts {
    ($($module:ident: $($test:ident)*;)*) => {
        mod memory {
            $($(
                #[test]
                fn $test() {
                    crate::$module::$test(&crate::kit::Memory);
                }
            )*)*
        }

        mod server {
            $($(
                #[test]
                fn $test() {
                    crate::$module::$test(&crate::kit::Served::start(u64::MAX));
                }
            )*)*
        }

        mod server_by_lanes {
            $($(
                #[test]
                fn $test() {
                    crate::$module::$test(&crate::kit::Served::start(0));
                }
            )*)*
        }
    };
}

contracts! {
    locks:
        a_lock_excludes
        a_lock_is_refused_in_four_ways
        a_lock_is_released_by_its_owner_only
        a_lock_whose_owner_died_is_suspect_until_recovered
        who_waits_to_recover_has_the_lock_when_its_owner_dies
        an_rlock_is_taken_and_released_as_often
        a_cycle_of_waits_is_told
        a_wait_with_a_deadline_is_no_deadlock;
    permits:
        permits_are_counted
        permits_are_refused_in_three_ways
        a_release_by_anybody_is_one_more
        a_bounded_semaphore_has_never_more
        a_dead_holders_permits_come_back;
    meetings:
        an_event_is_waited_for
        a_barrier_lets_all_go_and_one_leads
        a_barrier_breaks_for_all_by_abort
        a_barrier_breaks_for_all_by_reset
        a_barrier_breaks_for_all_by_a_deadline
        a_barrier_breaks_for_all_by_a_death
        a_condition_wakes_as_many_as_it_is_told
        a_condition_is_left_at_the_deadline_with_the_lock;
    values:
        a_value_is_set_and_read
        no_update_is_lost;
    queues:
        items_come_in_order_and_once
        a_full_and_an_empty_queue_refuse
        a_closed_queue_is_drained
        a_closed_queue_wakes_its_getters
        a_queue_without_a_bound_takes_all
        many_putters_and_getters_share_all_items
        a_joinable_queue_is_joined_when_all_is_done
        items_that_die_with_their_taker_are_told;
}

//! The laws of the source tree that no lint can express: who may import whom, which dependency belongs to which module,
//! and that pages, keys and files are neither missing nor dead. Each law lives in `tidy/` beside tests that show it bite.
//!
//! Length and naming are taste, not law: they are not checked here.

#![allow(clippy::indexing_slicing, clippy::expect_used, reason = "a panic is how a test fails")]

mod tidy {
    pub(crate) mod dependencies;
    pub(crate) mod directions;
    pub(crate) mod documents;
    pub(crate) mod files;
    pub(crate) mod habits;
    pub(crate) mod source;
}

use tidy::source::Tree;

/// Fails with one line per breach, so that a reader sees all of them at once.
#[track_caller]
fn holds(law: &str, breaches: &[String]) {
    assert!(breaches.is_empty(), "{law}: {} breach(es)\n  {}", breaches.len(), breaches.join("\n  "));
}

#[test]
fn imports_point_upstream() {
    holds("imports point upstream", &tidy::directions::check(&Tree::of_this_workspace()));
}

#[test]
fn only_three_modules_propose_to_the_metadata_group() {
    holds("who proposes", &tidy::directions::check_proposers(&Tree::of_this_workspace()));
}

#[test]
fn each_big_dependency_has_one_kind_of_user() {
    let tree = Tree::of_this_workspace();
    holds("dependencies in sources", &tidy::dependencies::check_sources(&tree));
    holds("dependencies in manifests", &tidy::dependencies::check_manifests(&tree));
    holds("doors for tests", &tidy::dependencies::check_doors(&tree));
}

#[test]
fn every_source_file_says_what_it_is() {
    holds("module documentation", &tidy::files::check_openings(&Tree::of_this_workspace()));
}

#[test]
fn no_source_file_is_dead() {
    holds("dead files", &tidy::files::check_dead(&Tree::of_this_workspace()));
}

#[test]
fn every_error_code_has_a_page_and_every_page_a_code() {
    holds("error pages", &tidy::documents::check_error_pages(&Tree::of_this_workspace()));
}

#[test]
fn every_region_key_is_documented() {
    holds("region keys", &tidy::documents::check_region_keys(&Tree::of_this_workspace()));
}

#[test]
fn the_readme_stays_short() {
    holds("README.md", &tidy::documents::check_readme(&Tree::of_this_workspace()));
}

#[test]
fn documents_name_only_files_that_are_there() {
    holds("paths in documents", &tidy::documents::check_paths(&Tree::of_this_workspace()));
}

#[test]
fn every_promise_is_stated_once_with_a_file_and_a_test() {
    holds("promises", &tidy::documents::check_promises(&Tree::of_this_workspace()));
}

#[test]
fn tasks_and_time_come_from_one_place() {
    holds("tasks and time", &tidy::habits::check_single_places(&Tree::of_this_workspace()));
}

#[test]
fn nothing_is_left_to_be_written_later_without_a_word() {
    holds("unfinished code", &tidy::habits::check_unfinished(&Tree::of_this_workspace()));
}

#[test]
fn every_exception_from_a_lint_has_a_reason() {
    holds("exceptions", &tidy::habits::check_allows(&Tree::of_this_workspace()));
}

//! A search of this region -> the words in which other regions may be asked. What has no such words is refused, never
//! shortened: a question that asks for less would be answered with too much.

//! The running agent: puts the rooms together, starts and stops them.

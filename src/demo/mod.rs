//! `spoolway demo`: the main job end to end, and the control that proves the proof.

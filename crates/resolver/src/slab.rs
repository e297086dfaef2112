//! Numbered places for things that come and go.

/// A place, and which of those who had it one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// In 56 bits.
    pub(crate) fn pack(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// From [`Key::pack`]'s bits.
    pub(crate) fn unpack(bits: u64) -> Self {
        Self { index: bits as u32, generation: (bits >> 32) as u32 & GENERATIONS }
    }
}

const GENERATIONS: u32 = 0x00ff_ffff;

/// Things by key; a key of something that has gone finds nothing, also when its place is taken.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(crate) fn insert(&mut self, thing: T) -> Key {
        if let Some(index) = self.free.pop()
            && let Some((generation, place)) = self.places.get_mut(index as usize)
        {
            *generation = (*generation + 1) & GENERATIONS;
            *place = Some(thing);
            return Key { index, generation: *generation };
        }
        self.places.push((0, Some(thing)));
        Key { index: self.places.len() as u32 - 1, generation: 0 }
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let (generation, thing) = self.places.get(key.index as usize)?;
        thing.as_ref().filter(|_| *generation == key.generation)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (generation, thing) = self.places.get_mut(key.index as usize)?;
        thing.as_mut().filter(|_| *generation == key.generation)
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let (generation, thing) = self.places.get_mut(key.index as usize)?;
        let thing = thing.take_if(|_| *generation == key.generation)?;
        self.free.push(key.index);
        Some(thing)
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.places.iter().enumerate().filter_map(|(index, (generation, thing))| {
            let key = Key { index: index as u32, generation: *generation };
            thing.as_ref().map(|thing| (key, thing))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_who_has_gone_finds_nobody() {
        let mut slab = Slab::default();
        let first = slab.insert('a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert('b');
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get_mut(Key::unpack(second.pack())), Some(&mut 'b'));
        assert_eq!((slab.len(), slab.iter().count()), (1, 1));
    }
}

// A program of which small objects are made: it needs no library, and has of each thing that debug information tells of
// something. It is never run.

namespace outer {
namespace {

struct Point {
    int x, y;
    virtual ~Point() {}
    virtual int sum() const { return x + y; }
};

template <typename T, int N> struct Row {
    T cells[N];
    T last() const { return cells[N - 1]; }
};

enum class Colour { Red, Green };

union Word {
    long whole;
    char bytes[8];
};

inline int twice(int value) { return value * 2; }
inline __attribute__((always_inline)) int four_times(int value) { return twice(twice(value)); }

} // namespace

__attribute__((noinline)) int deep(int level, const Row<int, 3> &row) {
    volatile int room[40];
    room[level & 31] = row.last();
    if (level > 0) {
        int inner = four_times(level);
        return deep(level - 1, row) + inner + room[level & 31];
    }
    return room[0];
}

__attribute__((noinline, cold)) int seldom(Colour colour) {
    switch (colour) {
    case Colour::Red: return 1;
    case Colour::Green: return 20;
    }
    return 300;
}

__attribute__((section(".text.far"))) int far_away(Word word) {
    auto add = [&](int more) { return static_cast<int>(word.whole) + more; };
    return add(word.bytes[1]) + seldom(Colour::Green);
}

} // namespace outer

void operator delete(void *, unsigned long) {}
void operator delete(void *) {}
extern "C" void __cxa_pure_virtual() {}
namespace __cxxabiv1 {
struct __class_type_info {
    virtual void key();
};
void __class_type_info::key() {}
} // namespace __cxxabiv1

extern "C" __attribute__((used)) int variable(int count) {
    char *room = static_cast<char *>(__builtin_alloca(count));
    room[0] = static_cast<char>(count);
    return room[count / 2];
}

extern "C" int _start(int count) {
    outer::Row<int, 3> row = {{1, 2, count}};
    outer::Point point;
    point.x = point.y = count;
    outer::Word word = {count};
    return outer::deep(count, row) + point.sum() + outer::far_away(word) + variable(count);
}

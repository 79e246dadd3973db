"""The public boundary: kinds of argument, each told once, and the decorator that holds to them.

A kind is a function ``(name, value) -> value`` that makes the right value of what a user may
give, or raises one `InputError` in words. A public function declares its kinds with `takes`;
below the boundary nothing is checked again. A name that begins with dashes is an option of the
command line, and is spelled so in errors.
"""

from whydeep.arguments._arrays import array as array
from whydeep.arguments._arrays import as_array as as_array
from whydeep.arguments._arrays import as_numbers as as_numbers
from whydeep.arguments._arrays import as_told as as_told
from whydeep.arguments._cost import check_layers as check_layers
from whydeep.arguments._cost import check_memory as check_memory
from whydeep.arguments._cost import check_time as check_time
from whydeep.arguments._names import choice as choice
from whydeep.arguments._names import choices as choices
from whydeep.arguments._names import file_path as file_path
from whydeep.arguments._names import nearest as nearest
from whydeep.arguments._names import text as text
from whydeep.arguments._numbers import COUNT as COUNT
from whydeep.arguments._numbers import DEPTH as DEPTH
from whydeep.arguments._numbers import DTYPE as DTYPE
from whydeep.arguments._numbers import FLAG as FLAG
from whydeep.arguments._numbers import NUMBER as NUMBER
from whydeep.arguments._numbers import ORDER as ORDER
from whydeep.arguments._numbers import POSITIVE as POSITIVE
from whydeep.arguments._numbers import RATE as RATE
from whydeep.arguments._numbers import SEED as SEED
from whydeep.arguments._numbers import VARIANCE as VARIANCE
from whydeep.arguments._numbers import count as count
from whydeep.arguments._numbers import is_traced as is_traced
from whydeep.arguments._numbers import number as number
from whydeep.arguments._objects import CALLABLE as CALLABLE
from whydeep.arguments._objects import TREE as TREE
from whydeep.arguments._objects import anything as anything
from whydeep.arguments._objects import called as called
from whydeep.arguments._objects import each as each
from whydeep.arguments._objects import either as either
from whydeep.arguments._objects import instance as instance
from whydeep.arguments._objects import is_single as is_single
from whydeep.arguments._objects import named as named
from whydeep.arguments._objects import one_or_each as one_or_each
from whydeep.arguments._objects import optional as optional
from whydeep.arguments._objects import or_word as or_word
from whydeep.arguments._say import given as given
from whydeep.arguments._say import refusal as refusal
from whydeep.arguments._say import shown as shown
from whydeep.arguments._takes import Kind as Kind
from whydeep.arguments._takes import takes as takes
